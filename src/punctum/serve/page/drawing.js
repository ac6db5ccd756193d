// The picture and what was found, on a canvas. Coordinates: (0, 0) is the centre of the top-left pixel.

import { heatSheet } from "./heat.js";

const LONGEST = 1400; // px of the canvas

// Colours by the golden angle: neighbours differ, and a point keeps its own.
export function pointColour(k) {
  return `hsl(${(k * 137.508 + 195) % 360} 90% 62%)`;
}

// scene: {picture, width, height, keypoints, heatmaps, box}; options: see app.js.
export function draw(canvas, scene, options) {
  const zoom = LONGEST / Math.max(scene.width, scene.height);
  const [w, h] = [scene.width, scene.height].map((side) => Math.max(1, Math.round(side * zoom)));
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.resetTransform();
  context.clearRect(0, 0, w, h);
  context.setTransform(zoom, 0, 0, zoom, zoom / 2, zoom / 2);
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = zoom < 8;
  if (scene.picture) context.drawImage(scene.picture, -0.5, -0.5, scene.width, scene.height);
  // One unit of what is drawn, in the picture's pixels: as large on a phone as on a desk.
  const unit = 1.6 * w / Math.max(canvas.clientWidth || w / 2, 240) / zoom;
  if (scene.heatmaps && options.heat !== "none") drawHeat(context, scene.heatmaps, options);
  if (scene.box) drawBox(context, scene.box, unit);
  const shown = (scene.keypoints ?? []).map((point, k) => ({ ...point, k })).filter((point) => visible(point, options));
  if (options.skeleton) drawSkeleton(context, shown, options.edges, unit);
  if (options.ellipses) shown.forEach((point) => drawEllipse(context, point, options, unit));
  const size = shown.length > 40 ? 0.75 : 1;
  shown.forEach((point) => drawPoint(context, point, point.k === options.chosen, unit * size));
  if (options.names) shown.forEach((point) => drawName(context, point, unit));
}

export function visible(point, options) {
  return point.x !== null && point.y !== null && (point.score ?? 0) >= options.least;
}

function drawHeat(context, maps, options) {
  const [[a, c, e], [b, d, f]] = maps.to_image;
  context.save();
  context.globalAlpha = options.opacity;
  context.imageSmoothingEnabled = true;
  context.transform(a, b, c, d, e, f);
  context.drawImage(heatSheet(maps, options.heat), -0.5, -0.5);
  context.restore();
}

function drawSkeleton(context, shown, edges, unit) {
  const places = new Map(shown.map((point) => [point.k, point]));
  for (const [i, j] of edges) {
    const [from, to] = [places.get(i), places.get(j)];
    if (!from || !to) continue;
    const line = () => { context.beginPath(); context.moveTo(from.x, from.y); context.lineTo(to.x, to.y); context.stroke(); };
    context.lineCap = "round";
    twice(context, unit, "rgb(255 255 255 / 0.9)", line);
  }
}

// How many standard deviations an ellipse is wide: a promise of a calibrated model, else two.
export function factorOf(point, level) {
  return point.regions?.[level]?.ellipse ?? 2;
}

// Standard deviations along the longer and the shorter axis, and the longer one's angle.
export function axesOf([[xx, xy], [, yy]]) {
  const middle = (xx + yy) / 2;
  const half = Math.hypot((xx - yy) / 2, xy);
  return { long: Math.sqrt(Math.max(0, middle + half)), short: Math.sqrt(Math.max(0, middle - half)), angle: Math.atan2(2 * xy, xx - yy) / 2 };
}

function drawEllipse(context, point, { level, chosen }, unit) {
  const faint = chosen !== null && chosen !== point.k;
  if (!point.covariance || point.covariance.flat().includes(null)) return;
  const { long, short, angle } = axesOf(point.covariance);
  const factor = factorOf(point, level);
  context.globalAlpha = faint ? 0.25 : 1;
  twice(context, unit * 0.7, pointColour(point.k), () => {
    context.beginPath();
    context.ellipse(point.x, point.y, factor * long, factor * short, angle, 0, 2 * Math.PI);
    context.stroke();
  });
  context.globalAlpha = 1;
}

function drawPoint(context, point, chosen, unit) {
  const circle = (radius) => { context.beginPath(); context.arc(point.x, point.y, radius, 0, 2 * Math.PI); };
  circle(3.1 * unit);
  context.fillStyle = "rgb(0 0 0 / 0.75)";
  context.fill();
  circle(2.4 * unit);
  context.fillStyle = pointColour(point.k);
  context.fill();
  if (chosen) twice(context, unit * 1.3, "white", () => { circle(7 * unit); context.stroke(); });
}

function drawName(context, point, unit) {
  context.font = `600 ${9.5 * unit}px system-ui, sans-serif`;
  context.lineJoin = "round";
  context.lineWidth = 2.6 * unit;
  context.strokeStyle = "rgb(0 0 0 / 0.8)";
  context.strokeText(point.name, point.x + 5 * unit, point.y - 4 * unit);
  context.fillStyle = "white";
  context.fillText(point.name, point.x + 5 * unit, point.y - 4 * unit);
}

function drawBox(context, [x, y, width, height], unit) {
  context.setLineDash([4 * unit, 3 * unit]);
  twice(context, unit, "white", () => context.strokeRect(x, y, width, height));
  context.setLineDash([]);
}

// A line with a dark rim, to be seen on every ground.
function twice(context, width, colour, stroke) {
  context.lineWidth = 2.4 * width;
  context.strokeStyle = "rgb(0 0 0 / 0.55)";
  stroke();
  context.lineWidth = 1.3 * width;
  context.strokeStyle = colour;
  stroke();
}
