"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const stage = document.getElementById("stage");
  const sheet = document.getElementById("sheet");
  const photo = document.getElementById("photo");
  const statements = [...document.querySelectorAll("button.statement")];
  const layers = [...viewer.querySelectorAll(".layer")];
  const MOST = 16;
  let zoom = 1, left = 0, top = 0;

  // The sheet may not be drawn off the stage, nor be smaller than it.
  function place(z, x, y, eased) {
    const w = stage.clientWidth, h = stage.clientHeight;
    zoom = Math.min(MOST, Math.max(1, z));
    left = Math.min(0, Math.max(w - w * zoom, x));
    top = Math.min(0, Math.max(h - h * zoom, y));
    sheet.classList.toggle("eased", Boolean(eased));
    sheet.style.transform = zoom === 1 ? "none" : `translate(${left}px,${top}px) scale(${zoom})`;
    sheet.style.setProperty("--zoom", zoom);
    stage.style.touchAction = zoom > 1 ? "none" : "pan-y";
  }

  function zoomAt(factor, x, y, eased) {
    const z = Math.min(MOST, Math.max(1, zoom * factor));
    place(z, x - (x - left) * z / zoom, y - (y - top) * z / zoom, eased);
  }

  const middle = (factor) => zoomAt(factor, stage.clientWidth / 2, stage.clientHeight / 2, true);

  // A box "left top width height" in pixels of the photograph, with air round it.
  function zoomTo(box) {
    const [x, y, w, h] = box.split(" ").map(Number);
    const scale = stage.clientWidth / photo.width0;
    const z = Math.min(6, 0.72 * Math.min(stage.clientWidth / (w * scale), stage.clientHeight / (h * scale)));
    const k = Math.max(1, z) * scale;
    place(z, stage.clientWidth / 2 - (x + w / 2) * k, stage.clientHeight / 2 - (y + h / 2) * k, true);
  }
  photo.width0 = Number(photo.getAttribute("width"));

  function prove(button) {
    const chosen = button && button.getAttribute("aria-pressed") !== "true" ? button : null;
    const lit = chosen ? chosen.dataset.layers.split(" ") : [];
    for (const s of statements) s.setAttribute("aria-pressed", String(s === chosen));
    for (const l of layers) l.classList.toggle("lit", lit.includes(l.dataset.layer));
    viewer.classList.toggle("proving", Boolean(chosen));
    if (chosen && chosen.dataset.box) zoomTo(chosen.dataset.box);
    else place(1, 0, 0, true);
    const at = viewer.getBoundingClientRect();
    if (chosen && (at.bottom < 80 || at.top > innerHeight - 80))
      viewer.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  for (const s of statements) s.addEventListener("click", () => prove(s));
  document.addEventListener("keydown", (e) => { if (e.key === "Escape") prove(null); });

  document.getElementById("zoom-in").addEventListener("click", () => middle(1.6));
  document.getElementById("zoom-out").addEventListener("click", () => middle(1 / 1.6));
  document.getElementById("zoom-reset").addEventListener("click", () => place(1, 0, 0, true));

  const opacity = document.getElementById("opacity");
  const fade = () => sheet.style.setProperty("--opacity", opacity.value / 100);
  opacity.addEventListener("input", fade);
  fade();

  stage.addEventListener("wheel", (e) => {
    if (zoom === 1 && e.deltaY > 0) return; // let the page scroll on
    e.preventDefault();
    const at = stage.getBoundingClientRect();
    const lines = e.deltaMode === 1 ? 16 : 1;
    zoomAt(Math.exp(-Math.max(-120, Math.min(120, e.deltaY * lines)) / 400), e.clientX - at.left, e.clientY - at.top);
  }, { passive: false });

  stage.addEventListener("keydown", (e) => {
    if (e.target !== stage || e.ctrlKey || e.metaKey || e.altKey) return;
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (e.key === "+" || e.key === "=") middle(1.4);
    else if (e.key === "-") middle(1 / 1.4);
    else if (e.key === "0") place(1, 0, 0, true);
    else if (moves[e.key] && zoom > 1) place(zoom, left + moves[e.key][0], top + moves[e.key][1], true);
    else return;
    e.preventDefault();
  });

  // One pointer drags, two pinch.
  const held = new Map();
  const point = (e) => {
    const at = stage.getBoundingClientRect();
    return { x: e.clientX - at.left, y: e.clientY - at.top };
  };
  const spread = () => {
    const [a, b] = [...held.values()];
    return { size: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };
  stage.addEventListener("pointerdown", (e) => {
    if (e.target.closest(".zoom")) return;
    held.set(e.pointerId, point(e));
    stage.setPointerCapture(e.pointerId);
  });
  stage.addEventListener("pointermove", (e) => {
    if (!held.has(e.pointerId)) return;
    const before = held.get(e.pointerId), pair = held.size === 2 ? spread() : null, now = point(e);
    held.set(e.pointerId, now);
    if (pair) {
      const after = spread();
      zoomAt(after.size / Math.max(1, pair.size), after.x, after.y);
    } else if (zoom > 1) place(zoom, left + now.x - before.x, top + now.y - before.y);
  });
  for (const end of ["pointerup", "pointercancel"])
    stage.addEventListener(end, (e) => held.delete(e.pointerId));
  stage.addEventListener("dblclick", (e) => {
    if (e.target.closest(".zoom")) return;
    const at = point(e);
    if (zoom > 1) place(1, 0, 0, true);
    else zoomAt(3, at.x, at.y, true);
  });
  addEventListener("resize", () => place(zoom, left, top));
  addEventListener("beforeprint", () => place(1, 0, 0));
})();
