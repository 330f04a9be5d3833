"use strict";
(() => {
  const inflate = async (text, Kind) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Kind(await new Response(stream).arrayBuffer());
  };
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  for (const dot of document.querySelectorAll(".dot[data-colour]")) dot.style.color = dot.style.background = dot.dataset.colour;
  for (const layer of document.querySelectorAll(".layer")) layer.style.color = layer.dataset.colour;

  const grid = async (card) => {
    const g = JSON.parse(card.querySelector(".grid-data").textContent);
    const values = await inflate(g.data, Uint16Array);
    const strides = [g.shape[1] * g.shape[2], g.shape[2], 1];
    const at = g.shape.map((n) => n >> 1);
    const masks = g.masks.map((m) => ({ ink: rgb(m.colour), voxels: null }));
    const shown = new Set(), drawn = new Set(), hot = new Set();
    const heats = g.heats.map(() => null);
    const table = new Uint8Array(65536);
    const level = { centre: g.windows[0][1], width: g.windows[0][2] };
    const figures = [...card.querySelectorAll("figure")];

    const fill = () => {
      const low = level.centre - level.width / 2;
      for (let raw = 0; raw < 65536; raw++) {
        const v = (raw * g.scale + g.offset - low) / Math.max(level.width, 1e-9);
        table[raw] = v <= 0 ? 0 : v >= 1 ? 255 : v * 255;
      }
    };

    // lines in this plane as they are; of others, where they go through it
    const trace = (figure, p, rows, columns) => {
      const svg = figure.querySelector(".lines");
      if (!svg) return;
      svg.replaceChildren();
      const here = at[p.fixed];
      const xy = (q) => {
        const x = q[p.columns] + 0.5, y = q[p.rows] + 0.5;
        return `${(p.flip_columns ? columns - x : x).toFixed(2)} ${(p.flip_rows ? rows - y : y).toFixed(2)}`;
      };
      const add = (path, line, kind) => {
        if (!path) return;
        const one = document.createElementNS("http://www.w3.org/2000/svg", "path");
        one.setAttribute("d", path); one.setAttribute("stroke", line.colour);
        if (kind) one.setAttribute("class", kind);
        svg.append(one);
      };
      for (const n of drawn) {
        const line = g.lines[n];
        if (line.kind === "box") {
          if (here + 0.5 <= line.start[p.fixed] || here - 0.5 >= line.stop[p.fixed]) continue;
          const corner = (rowsEnd, columnsEnd) => {
            const q = [0, 0, 0];
            q[p.rows] = rowsEnd[p.rows]; q[p.columns] = columnsEnd[p.columns];
            return xy(q);
          };
          const a = line.start, b = line.stop;
          add(`M${corner(a, a)}L${corner(a, b)}L${corner(b, b)}L${corner(b, a)}Z`, line, "");
          continue;
        }
        let whole = "", through = "";
        for (const ring of line.rings) {
          if (ring.every((q) => Math.abs(q[p.fixed] - here) <= 0.5)) {
            whole += ring.length === 1 ? `M${xy(ring[0])}h0` : `M${ring.map(xy).join("L")}${line.closed ? "Z" : ""}`;
            continue;
          }
          for (let i = line.closed ? 0 : 1; i < ring.length; i++) {
            const a = ring[i ? i - 1 : ring.length - 1], b = ring[i];
            const s = a[p.fixed] - here, t = b[p.fixed] - here;
            if ((s < 0) === (t < 0)) continue;
            through += `M${xy(a.map((v, k) => v + (b[k] - v) * s / (s - t)))}h0`;
          }
        }
        add(whole, line, line.rings.every((ring) => ring.length === 1) ? "place" : "");
        add(through, line, "through");
      }
    };

    const draw = (figure) => {
      const p = g.planes[figure.dataset.plane];
      const canvas = figure.querySelector("canvas");
      const rows = g.shape[p.rows], columns = g.shape[p.columns];
      const context = canvas.getContext("2d");
      const picture = context.createImageData(columns, rows);
      const base = at[p.fixed] * strides[p.fixed];
      const layers = [...shown].map((n) => masks[n]).filter((m) => m.voxels);
      const heated = [...hot].map((n) => heats[n]).filter((h) => h);
      let out = 0;
      for (let r = 0; r < rows; r++) {
        const row = base + (p.flip_rows ? rows - 1 - r : r) * strides[p.rows];
        for (let c = 0; c < columns; c++, out += 4) {
          const index = row + (p.flip_columns ? columns - 1 - c : c) * strides[p.columns];
          const grey = table[values[index]];
          let red = grey, green = grey, blue = grey;
          for (const m of layers) if (m.voxels[index]) {
            red = red * 0.5 + m.ink[0] * 0.5; green = green * 0.5 + m.ink[1] * 0.5; blue = blue * 0.5 + m.ink[2] * 0.5;
          }
          for (const h of heated) {
            const v = h[index] / 255, a = 0.6 * Math.sqrt(v);
            red += (255 - red) * a; green += (225 * (1 - v) - green) * a; blue += (40 * (1 - v) - blue) * a;
          }
          picture.data[out] = red; picture.data[out + 1] = green; picture.data[out + 2] = blue; picture.data[out + 3] = 255;
        }
      }
      context.putImageData(picture, 0, 0);
      trace(figure, p, rows, columns);
      const slider = figure.querySelector(".slider input");
      if (slider) {
        slider.value = at[p.fixed];
        figure.querySelector(".slider output").textContent = `${at[p.fixed] * g.steps[p.fixed] + 1} / ${slider.dataset.count}`;
      }
    };
    const drawAll = () => figures.forEach(draw);

    const centre = card.querySelector(".centre"), width = card.querySelector(".width");
    const span = Math.max(g.range[1] - g.range[0], 1e-6);
    Object.assign(centre, { min: g.range[0], max: g.range[1], step: span / 500 });
    Object.assign(width, { min: span / 500, max: span * 1.2, step: span / 500 });
    const buttons = [...card.querySelectorAll(".windows button")];
    const levelled = (pressed) => {
      centre.value = level.centre; width.value = level.width;
      const tell = (v) => Number(v.toPrecision(4)).toString();
      card.querySelector(".level").textContent = `${tell(level.centre)} / ${tell(level.width)}`;
      buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === pressed)));
      fill(); drawAll();
    };
    for (const b of buttons) b.addEventListener("click", () => {
      level.centre = Number(b.dataset.centre); level.width = Number(b.dataset.width); levelled(b);
    });
    centre.addEventListener("input", () => { level.centre = Number(centre.value); levelled(null); });
    width.addEventListener("input", () => { level.width = Number(width.value); levelled(null); });

    for (const figure of figures) {
      const p = g.planes[figure.dataset.plane];
      const canvas = figure.querySelector("canvas"), slider = figure.querySelector(".slider input");
      canvas.width = g.shape[p.columns]; canvas.height = g.shape[p.rows];
      const w = g.shape[p.columns] * g.spacing[p.columns], h = g.shape[p.rows] * g.spacing[p.rows];
      const slab = canvas.parentElement, svg = figure.querySelector(".lines");
      slab.style.aspectRatio = `${w} / ${h}`;
      if (svg) svg.setAttribute("viewBox", `0 0 ${canvas.width} ${canvas.height}`);
      // as wide as the picture, within reason: a thin stack needs no square of black
      const ratio = figures.length === 1 ? w / h : Math.min(Math.max(w / h, 1), 2.5);
      slab.parentElement.style.aspectRatio = String(ratio);
      if (w / h >= ratio) slab.style.width = "100%"; else slab.style.height = "100%";
      if (!slider) continue;
      slider.max = g.shape[p.fixed] - 1;
      slider.dataset.count = g.size[p.fixed];
      slider.addEventListener("input", () => { at[p.fixed] = Number(slider.value); draw(figure); });
      canvas.addEventListener("click", (event) => {
        const box = canvas.getBoundingClientRect();
        let c = Math.floor((event.clientX - box.left) / box.width * g.shape[p.columns]);
        let r = Math.floor((event.clientY - box.top) / box.height * g.shape[p.rows]);
        c = Math.min(Math.max(c, 0), g.shape[p.columns] - 1); r = Math.min(Math.max(r, 0), g.shape[p.rows] - 1);
        at[p.columns] = p.flip_columns ? g.shape[p.columns] - 1 - c : c;
        at[p.rows] = p.flip_rows ? g.shape[p.rows] - 1 - r : r;
        drawAll();
      });
    }
    const show = async (box) => {
      const n = Number(box.dataset.mask);
      if (!box.checked) shown.delete(n); else {
        shown.add(n);
        masks[n].voxels ??= await inflate(g.masks[n].data, Uint8Array);
      }
    };
    const boxes = [...card.querySelectorAll("[data-mask]")];
    for (const box of boxes) box.addEventListener("change", async () => { await show(box); drawAll(); });
    await Promise.all(boxes.map(show));
    const trail = (box) => { const n = Number(box.dataset.line); if (box.checked) drawn.add(n); else drawn.delete(n); };
    for (const box of card.querySelectorAll("[data-line]")) {
      trail(box);
      box.addEventListener("change", () => { trail(box); drawAll(); });
    }
    const warm = async (box) => {
      const n = Number(box.dataset.heat);
      if (!box.checked) hot.delete(n); else {
        hot.add(n);
        heats[n] ??= await inflate(g.heats[n].data, Uint8Array);
      }
    };
    const warmth = [...card.querySelectorAll("[data-heat]")];
    for (const box of warmth) box.addEventListener("change", async () => { await warm(box); drawAll(); });
    await Promise.all(warmth.map(warm));
    levelled(buttons[0]);
    card.dataset.ready = "true";
  };

  const pages = (card, selector) => {
    const all = [...card.querySelectorAll(selector)], slider = card.querySelector(":scope > .slider input");
    if (!slider) return;
    slider.addEventListener("input", () => {
      all.forEach((one, n) => { one.hidden = n !== Number(slider.value); });
      card.querySelector(":scope > .slider output").textContent = `${Number(slider.value) + 1} / ${all.length}`;
    });
  };

  for (const card of document.querySelectorAll(".card")) {
    const kind = card.dataset.show;
    if (kind === "grid") grid(card);
    else if (kind === "cine") {
      pages(card, ".frame");
      for (const box of card.querySelectorAll("input[data-layer]")) box.addEventListener("change", () => {
        for (const path of card.querySelectorAll(`path[data-layer="${box.dataset.layer}"]`)) path.style.display = box.checked ? "" : "none";
      });
    }
    else if (kind === "signal") pages(card, ".strip");
    else if (kind === "picture") {
      for (const box of card.querySelectorAll("input[data-layer]")) box.addEventListener("change", () => {
        card.querySelector(`.layer[data-layer="${box.dataset.layer}"]`).hidden = !box.checked;
      });
    }
  }
})();
