// The page: what is chosen, what was found, and the controls between.

import { draw, visible } from "./drawing.js";
import { closeFilm, frameAt, openFilm, timesOf } from "./film.js";
import { readHeatmaps } from "./heat.js";
import { asCsv, asJson, keep } from "./keep.js";
import { askModel, findPoints } from "./server.js";
import { fillTable, markRows } from "./table.js";

const at = (id) => document.getElementById(id);
const table = document.querySelector("table");
const state = { model: null, frames: [], shown: 0, video: null, run: 0, chosen: null, playing: 0, name: "" };

// --- the model ---------------------------------------------------------------------------------------------------

async function start() {
  try {
    state.model = await askModel();
  } catch (error) {
    return complain(`The server does not answer: ${error.message}`);
  }
  const { model } = state;
  const trust = model.levels.length ? "calibrated" : "not calibrated";
  at("model").textContent = `${model.name}: ${model.keypoints.length} points, ${model.engine}, ${trust}`;
  const levels = model.levels.length ? model.levels.map((level) => [level, `with ${+(100 * level).toPrecision(4)} %`]) : [["", "within two sigma, no promise"]];
  at("level").replaceChildren(...levels.map(([value, text]) => new Option(text, value)));
  at("level").value = [...model.levels].reverse().find((level) => level <= 0.95) ?? model.levels[0] ?? "";
  at("heat").replaceChildren(new Option("None", "none"), new Option("All points", "all"), ...model.keypoints.map((name, k) => new Option(name, k)));
  at("heat").disabled = at("opacity").disabled = !model.heatmaps;
  at("heat-note").hidden = model.heatmaps;
  at("heat-note").textContent = "This model gives no heatmaps: exported models keep them inside, and some heads have none.";
  at("skeleton").disabled = !model.skeleton.length;
  at("skeleton").checked = model.skeleton.length > 0;
  // Of a model that nobody has calibrated, ellipses say little about its errors.
  at("ellipses").checked = model.levels.length > 0;
  at("part").open = model.region === "box";
}

function options() {
  const heat = at("heat").value;
  return {
    skeleton: at("skeleton").checked, ellipses: at("ellipses").checked, names: at("names").checked,
    edges: state.model.skeleton, level: at("level").value, least: Number(at("least").value),
    heat: heat === "all" || heat === "none" ? heat : Number(heat), opacity: Number(at("opacity").value) / 100,
    chosen: state.chosen,
  };
}

// --- a file ------------------------------------------------------------------------------------------------------

async function open(file) {
  if (!state.model || !file) return;
  closeFilm(state.video);
  pause();
  Object.assign(state, { frames: [], shown: 0, video: null, chosen: null, name: file.name });
  ["x", "y", "w", "h"].forEach((side) => { at(`box-${side}`).value = ""; });
  document.body.classList.add("busy");
  at("film").hidden = !file.type.startsWith("video/");
  if (file.type.startsWith("video/")) return attempt(async () => { state.video = await openFilm(file); await findInFilm(); });
  return attempt(() => findInPicture(file));
}

// Whatever goes wrong is told; what was asked in between wins.
async function attempt(work) {
  const run = ++state.run;
  at("error").hidden = true;
  try {
    await work();
  } catch (error) {
    if (run === state.run) complain(error.message);
  }
}

function complain(message) {
  at("status").textContent = "";
  at("error").hidden = false;
  at("error").textContent = message;
}

async function findInPicture(blob, box = null) {
  const run = state.run;
  at("status").textContent = `Looking at ${state.name}.`;
  const started = performance.now();
  const [picture, found] = await Promise.all([bitmapOf(blob), findPoints(blob, { box, heatmaps: state.model.heatmaps })]);
  const heatmaps = found.heatmaps ? await readHeatmaps(found.heatmaps) : null;
  if (run !== state.run) return;
  state.frames = [{ ...found, picture, heatmaps, blob, name: state.name }];
  const unseen = picture ? "" : " This browser cannot show this kind of picture: the points are drawn on an empty sheet.";
  at("status").textContent = `${state.name}: ${found.keypoints.length} points in ${Math.round(performance.now() - started)} ms.${unseen}`;
  show(0);
}

async function bitmapOf(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    return null;
  }
}

// --- a video -----------------------------------------------------------------------------------------------------

async function findInFilm() {
  const run = state.run;
  const box = boxOfForm();
  const { times, cut } = timesOf(state.video, Number(at("step").value));
  state.frames = [];
  progress(0, times.length);
  for (const [i, time] of times.entries()) {
    at("status").textContent = `${state.name}: frame ${i + 1} of ${times.length}.`;
    const blob = await frameAt(state.video, time);
    const found = await findPoints(blob, { box });
    const picture = await bitmapOf(blob);
    if (run !== state.run) return;
    state.frames.push({ ...found, picture, blob, time, name: state.name });
    progress(i + 1, times.length);
    show(i);
  }
  progress(times.length, times.length);
  const rest = cut ? " The rest of the video was left out: take fewer frames a second." : "";
  at("status").textContent = `${state.name}: points in ${times.length} frames.${rest}`;
}

function progress(done, all) {
  const busy = done < all;
  at("progress-label").hidden = at("stop").hidden = !busy;
  at("again").hidden = busy;
  Object.assign(at("progress"), { value: done, max: all });
  at("frame").max = Math.max(0, state.frames.length - 1);
}

function stop() {
  state.run++;
  progress(1, 1);
  at("status").textContent = `${state.name}: stopped after ${state.frames.length} frames.`;
}

function pause() {
  clearInterval(state.playing);
  state.playing = 0;
  at("play").setAttribute("aria-pressed", "false");
  at("play").textContent = "Play";
}

function play() {
  if (state.playing) return pause();
  const perSecond = Number(at("step").value);
  at("play").setAttribute("aria-pressed", "true");
  at("play").textContent = "Pause";
  state.playing = setInterval(() => show((state.shown + 1) % state.frames.length), 1000 / perSecond);
}

// --- what is seen ------------------------------------------------------------------------------------------------

function show(i) {
  const frame = state.frames[i];
  if (!frame) return;
  state.shown = i;
  document.body.classList.add("found");
  at("work").hidden = false;
  if (state.video) {
    at("frame").value = i;
    at("time").textContent = `${frame.time.toFixed(2)} s`;
    at("frame").setAttribute("aria-valuetext", `frame ${i + 1} of ${state.frames.length}, ${frame.time.toFixed(2)} seconds`);
  }
  fillTable(table, frame.keypoints, options(), choose);
  redraw();
  fetchHeatmaps(frame);
}

// Of a video's frames, heatmaps are asked for only when somebody looks at one.
async function fetchHeatmaps(frame) {
  if (!state.model.heatmaps || frame.heatmaps !== undefined || at("heat").value === "none" || state.playing) return;
  frame.heatmaps = null;
  try {
    const found = await findPoints(frame.blob, { box: frame.box, heatmaps: true });
    frame.heatmaps = await readHeatmaps(found.heatmaps);
  } catch (error) {
    frame.heatmaps = undefined;
    complain(error.message);
  }
  if (state.frames[state.shown] === frame) redraw();
}

function redraw() {
  const frame = state.frames[state.shown];
  if (!frame) return;
  const chosen = options();
  draw(at("stage"), frame, chosen);
  markRows(table, frame.keypoints, chosen);
  const drawn = frame.keypoints.filter((point) => visible(point, chosen)).length;
  const size = `${frame.width} × ${frame.height} px`;
  const typical = frame.typical === undefined ? "" : ` At least as uncertain as this: ${(100 * frame.typical).toFixed(0)} % of the calibration images.`;
  at("summary").textContent = `${frame.name}, ${size}: ${drawn} of ${frame.keypoints.length} points drawn; the table lists them all.${typical}`;
}

function choose(k) {
  state.chosen = state.chosen === k ? null : k;
  if (state.model.heatmaps) at("heat").value = state.chosen === null ? "none" : String(k);
  redraw();
  fetchHeatmaps(state.frames[state.shown]);
}

// --- a part of the picture -----------------------------------------------------------------------------------------

function boxOfForm() {
  const values = ["x", "y", "w", "h"].map((side) => at(`box-${side}`).valueAsNumber);
  return values.some(Number.isNaN) ? null : values;
}

function lookAgain() {
  if (state.video) return attempt(findInFilm);
  const { blob } = state.frames[0];
  return attempt(() => findInPicture(blob, boxOfForm()));
}

function dragBox(event) {
  const frame = state.frames[state.shown];
  if (!frame || event.button !== 0) return;
  const stage = at("stage");
  const place = (e) => {
    const edge = stage.getBoundingClientRect();
    return [(e.clientX - edge.left) / edge.width * frame.width - 0.5, (e.clientY - edge.top) / edge.height * frame.height - 0.5];
  };
  const from = place(event);
  let box = null;
  const move = (e) => {
    const to = place(e);
    box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])];
    draw(stage, { ...frame, box }, options());
  };
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", move);
  const end = (e) => {
    stage.removeEventListener("pointermove", move);
    // A click is no box.
    if (e.type === "pointercancel" || !box || Math.min(box[2], box[3]) < Math.max(frame.width, frame.height) / 50) return redraw();
    ["x", "y", "w", "h"].forEach((side, i) => { at(`box-${side}`).value = box[i].toFixed(1); });
    at("part").open = true;
    return lookAgain();
  };
  stage.addEventListener("pointerup", end, { once: true });
  stage.addEventListener("pointercancel", end, { once: true });
}

// --- controls ------------------------------------------------------------------------------------------------------

at("file").addEventListener("change", () => { open(at("file").files[0]); at("file").value = ""; });
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
document.addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("over"); open(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) open(event.clipboardData.files[0]); });

for (const id of ["skeleton", "ellipses", "names"]) at(id).addEventListener("change", redraw);
at("level").addEventListener("change", () => show(state.shown));
at("heat").addEventListener("change", () => { redraw(); fetchHeatmaps(state.frames[state.shown]); });
at("least").addEventListener("input", () => { at("least-value").textContent = Number(at("least").value).toFixed(2); redraw(); });
at("opacity").addEventListener("input", () => { at("opacity-value").textContent = `${at("opacity").value} %`; redraw(); });
at("frame").addEventListener("input", () => { pause(); show(Number(at("frame").value)); });
at("play").addEventListener("click", play);
at("again").addEventListener("click", () => attempt(findInFilm));
at("stop").addEventListener("click", stop);
at("look").addEventListener("click", lookAgain);
at("whole").addEventListener("click", () => { ["x", "y", "w", "h"].forEach((side) => { at(`box-${side}`).value = ""; }); lookAgain(); });
at("stage").addEventListener("pointerdown", dragBox);

const stem = () => state.name.replace(/\.[^.]*$/, "") || "points";
at("csv").addEventListener("click", () => keep(asCsv(state.frames), "text/csv", `${stem()}.csv`));
at("json").addEventListener("click", () => keep(asJson(state.frames), "application/json", `${stem()}.json`));
at("png").addEventListener("click", () => at("stage").toBlob((blob) => keep(blob, "image/png", `${stem()}-points.png`)));

start();
