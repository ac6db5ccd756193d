// What is asked of the server; addresses are relative, so that a proxy may serve the page under any path.

export async function askModel() {
  const response = await fetch("model");
  if (!response.ok) throw new Error(await reason(response));
  return response.json();
}

// One picture's only instance: {width, height, keypoints, heatmaps, typical, box}.
export async function findPoints(blob, { box = null, heatmaps = false } = {}) {
  const asked = new URLSearchParams();
  if (heatmaps) asked.set("heatmaps", "true");
  if (box) asked.set("box", box.join(","));
  const response = await fetch(`predict?${asked}`, {
    method: "POST",
    headers: { "content-type": blob.type.startsWith("image/") ? mediaType(blob.type) : "application/octet-stream" },
    body: blob,
  });
  if (!response.ok) throw new Error(await reason(response));
  const [picture] = (await response.json()).images;
  return { width: picture.width, height: picture.height, ...picture.instances[0] };
}

const SERVED = ["image/jpeg", "image/png", "image/tiff", "image/bmp", "image/webp"];

// The server looks at the bytes; a type that it does not know by name would be refused before.
function mediaType(type) {
  return SERVED.includes(type) ? type : "application/octet-stream";
}

async function reason(response) {
  const wait = response.headers.get("retry-after");
  const later = wait ? ` Try again in ${wait} s.` : "";
  try {
    return `${(await response.json()).error}.${later}`;
  } catch {
    return `The server answered with status ${response.status}.${later}`;
  }
}
