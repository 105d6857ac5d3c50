// Plots, local times and the live feed. Every page is readable without this.
"use strict";

const pad = (number) => String(number).padStart(2, "0");

function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    if (Number.isNaN(time.valueOf()) || element.title) continue;
    const day = `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;
    const clock = `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
    element.title = element.dateTime;
    element.textContent = new Date().toDateString() === time.toDateString() ? clock : `${day} ${clock}`;
  }
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function clockOf(seconds) {
  const time = new Date(seconds * 1000);
  return `${pad(time.getHours())}:${pad(time.getMinutes())}`;
}

function drawPlots(root) {
  if (!window.uPlot) return;
  const strokes = ["--accent", "--warn", "--good"];
  for (const element of root.querySelectorAll("[data-plot]")) {
    if (element.dataset.drawn) continue;
    element.dataset.drawn = "yes";
    const data = JSON.parse(element.dataset.plot);
    const names = Object.keys(data.series);
    const axis = { stroke: color("--dim"), grid: { stroke: color("--edge"), width: 1 }, ticks: { show: false } };
    const options = {
      width: Math.max(element.clientWidth - 16, 200),
      height: 170,
      cursor: { drag: { setScale: false } },
      legend: { live: false },
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1)] } },
      axes: [{ ...axis, size: 28, incrs: [60, 120, 300, 600], values: (_plot, ticks) => ticks.map(clockOf) }, { ...axis, size: 46 }],
      series: [{}, ...names.map((label, place) => ({
        label, stroke: color(strokes[place % strokes.length]), width: 1.6, spanGaps: true, points: { show: false },
        value: (_plot, value) => value == null ? "–" : value.toFixed(data.unit === "messages" ? 0 : 1),
      }))],
    };
    new uPlot(options, [data.times, ...names.map((name) => data.series[name])], element);
  }
}

// Controls and direction marks would move other text: they are shown as escapes, as on the server.
function visible(text) {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (sign) => {
    const code = sign.codePointAt(0).toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, "0")}` : `\\u${code.padStart(4, "0")}`;
  });
}

function lineOf(one) {
  const add = (parent, tag, name, text) => {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = visible(text);
    parent.append(element, " ");
    return element;
  };
  const line = document.createElement("li");
  line.className = "line new";
  line.dataset.id = one.id;
  add(line, "time", "", "").dateTime = new Date(one.sent * 1000).toISOString();
  add(line, "span", `severity ${one.severity}`, one.severity);
  add(line, "a", "topic", one.topic).href = `/message?id=${encodeURIComponent(one.id)}`;
  add(line, "span", "summary", one.summary);
  const about = add(line, "span", "about", `${one.app} `);
  for (const name of one.users) add(about, "span", "user", name);
  for (const name of one.packages) add(about, "span", "package", name);
  showTimes(line);
  return line;
}

function followLive() {
  const list = document.getElementById("live");
  if (!list) return;
  const MOST = 500;
  const state = document.getElementById("stream-state");
  const pause = document.getElementById("pause");
  const nothing = document.getElementById("nothing");
  let waiting = null;
  const show = (one) => {
    if ([...list.children].slice(0, 60).some((line) => line.dataset.id === one.id)) return;
    nothing.hidden = true;
    list.prepend(lineOf(one));
    while (list.children.length > MOST) list.lastElementChild.remove();
  };
  const query = list.dataset.events;
  const source = new EventSource(`/events${query ? `?${query}` : ""}`);
  source.addEventListener("ready", () => { state.textContent = "Listening"; });
  source.addEventListener("message", (event) => {
    const one = JSON.parse(event.data);
    if (!waiting) return show(one);
    waiting.push(one);
    if (waiting.length > MOST) waiting.shift();
    state.textContent = `Paused, ${waiting.length} new`;
  });
  source.addEventListener("gap", () => { state.textContent = "Some messages may be missing here"; });
  source.addEventListener("dropped", (event) => {
    state.textContent = `Dropped: ${JSON.parse(event.data).reason}`;
  });
  source.addEventListener("error", () => { state.textContent = "Not connected; trying again"; });
  window.addEventListener("pagehide", () => source.close());
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = !waiting;
    if (!paused) waiting.forEach(show);
    waiting = paused ? [] : null;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    state.textContent = paused ? "Paused" : "Listening";
  });
}

// What is renewed is the same for whoever reads it: focus and sideways scrolling stay where they were.
function keepPlaces() {
  const nameOf = (one) => [one.tagName, one.getAttribute("href"), one.getAttribute("aria-label")].join(" ");
  const alike = (one) => [...document.querySelectorAll(one.tagName)].filter((other) => nameOf(other) === nameOf(one));
  let focused = null;
  let scrolled = [];
  document.addEventListener("htmx:beforeSwap", () => {
    const one = document.activeElement;
    focused = one && one !== document.body ? { one, place: alike(one).indexOf(one) } : null;
    scrolled = [...document.querySelectorAll(".scroll")].map((one) => ({ one, place: alike(one).indexOf(one), left: one.scrollLeft }));
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const { one, place, left } of scrolled) {
      const now = one.isConnected ? one : alike(one)[place];
      if (now) now.scrollLeft = left;
    }
    if (focused && !focused.one.isConnected) alike(focused.one)[focused.place]?.focus({ preventScroll: true });
  });
}

function start(root) {
  showTimes(root);
  drawPlots(root);
}

document.addEventListener("DOMContentLoaded", () => { start(document); followLive(); keepPlaces(); });
document.addEventListener("htmx:load", (event) => start(event.detail.elt.parentElement || document));
