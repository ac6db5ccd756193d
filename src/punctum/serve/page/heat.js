// Heatmaps: from the gray picture that the server sends to a coloured sheet over the picture.

// From nothing over violet and orange to yellow.
const STOPS = [[60, 10, 100], [160, 36, 110], [227, 70, 60], [250, 150, 20], [255, 230, 70]];

// Gray values 0 to 255 of every map: {size: [h, w], to_image, values}, values[k] a Uint8 array of h * w.
export async function readHeatmaps(sent) {
  const bytes = Uint8Array.from(atob(sent.png), (c) => c.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const [h, w] = sent.size;
  const values = Array.from({ length: bitmap.height / h }, (_, k) =>
    Uint8Array.from({ length: h * w }, (_, i) => data[4 * (k * h * w + i)]));
  return { size: sent.size, to_image: sent.to_image, values };
}

// A sheet of h x w px: of one map, or of all, each place by the map that is strongest there.
export function heatSheet(maps, which) {
  const [h, w] = maps.size;
  const canvas = new OffscreenCanvas(w, h);
  const image = new ImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    const value = which === "all" ? Math.max(...maps.values.map((map) => map[i])) : maps.values[which][i];
    image.data.set([...colour(value / 255), 255 * (value / 255) ** 0.6], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function colour(share) {
  const place = share * (STOPS.length - 1);
  const i = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[i].map((from, c) => from + (place - i) * (STOPS[i + 1][c] - from));
}
