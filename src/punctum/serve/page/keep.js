// What can be taken away: the forms are those of `punctum predict`, with a time where there is one.

export function asCsv(frames) {
  const filmed = frames.some((frame) => frame.time !== undefined);
  const present = frames[0].keypoints.some((point) => "present" in point);
  const levels = Object.keys(frames[0].keypoints[0]?.regions ?? {});
  const heading = ["image", ...(filmed ? ["time"] : []), "keypoint", "x", "y", "score", "cov_xx", "cov_xy", "cov_yy",
    ...(present ? ["present"] : []), ...levels.flatMap((level) => [`radius_${100 * level}`, `ellipse_${100 * level}`])];
  const rows = frames.flatMap((frame) => frame.keypoints.map((point) => {
    const [[xx, xy], [, yy]] = point.covariance ?? [["", ""], ["", ""]];
    return [frame.name, ...(filmed ? [frame.time.toFixed(4)] : []), point.name, point.x, point.y, point.score, xx, xy, yy,
      ...(present ? [point.present] : []),
      ...levels.flatMap((level) => [point.regions[level].radius, point.regions[level].ellipse])];
  }));
  return [heading, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

export function asJson(frames) {
  const plain = frames.map(({ name, time, width, height, box, typical, keypoints }) =>
    ({ image: name, time, width, height, box, typical, keypoints }));
  return JSON.stringify(plain, null, 1) + "\n";
}

export function keep(content, type, name) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
