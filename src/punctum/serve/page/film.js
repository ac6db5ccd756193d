// A video's frames, one after the other, decoded by the browser: the server only sees pictures.

const MOST = 900; // frames that are kept

export async function openFilm(file) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(file) });
  await new Promise((resolve, reject) => {
    video.addEventListener("loadeddata", resolve, { once: true });
    video.addEventListener("error", () => reject(new Error("This browser cannot play this video.")), { once: true });
  });
  return video;
}

// The times at which frames are taken, and whether the end is cut off.
export function timesOf(video, perSecond) {
  const length = Number.isFinite(video.duration) ? video.duration : 0;
  const count = Math.max(1, Math.floor(length * perSecond));
  const times = Array.from({ length: Math.min(count, MOST) }, (_, i) => (i + 0.5) / perSecond);
  return { times: times.map((time) => Math.min(time, length)), cut: count > MOST };
}

export async function frameAt(video, time) {
  if (Math.abs(video.currentTime - time) > 1e-4) {
    const seeked = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
    video.currentTime = time;
    await seeked;
  }
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
}

export function closeFilm(video) {
  if (!video) return;
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}
