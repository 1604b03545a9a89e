// Pictures large enough to see: beside each other, one swiped over the other, or their difference. Texts with marked words.

function drawExamples() {
  const box = $("examples-box");
  box.replaceChildren();
  for (const [task, shownItems] of Object.entries(D.examples)) {
    const kinds = Object.keys(shownItems).filter(k => shownItems[k].length);
    if (!kinds.length) continue;
    box.append(
      el("h3", {}, task),
      "png" in shownItems[kinds[0]][0] ? pictures(task, shownItems, kinds) : texts(task, shownItems, kinds),
    );
  }
  $("examples").hidden = !box.childElementCount;
}
const kindName = k =>
  k === "float" ? "float network" : k === "truth" ? "the truth" : BY_ID.has(k) ? `${nameOf(BY_ID.get(k))}` : k;

function pictures(task, items, kinds) {
  const labels = items[kinds[0]].map(i => i.label),
    url = (k, i) => `data:image/png;base64,${items[k][i].png}`;
  const designs = kinds.filter(k => BY_ID.has(k)),
    view = {
      at: 0,
      mode: "beside",
      zoom: 0,
      a: kinds.includes("float") ? "float" : kinds[0],
      b: designs[0] ?? kinds.at(-1),
      gain: 0,
    };
  const stage = el("div"),
    said = el("p", { class: "hint", role: "status" });
  const size = (image, factor) => {
    image.style.width = `${image.naturalWidth * factor}px`;
  };
  const factor = image => view.zoom || Math.max(1, Math.round((narrow() ? 290 : 380) / image.naturalWidth)); // at first as large as two or three fit
  const picture = (k, more = {}) => {
    const image = el("img", { src: url(k, view.at), alt: `${labels[view.at]}: ${kindName(k)}`, ...more });
    image.addEventListener("load", () => size(image, factor(image)));
    return image;
  };
  const beside = () =>
    stage.replaceChildren(
      el(
        "div",
        { class: "pictures" },
        kinds.map(k => el("figure", {}, el("div", { class: "frame" }, picture(k)), el("figcaption", {}, kindName(k)))),
      ),
    );
  const swipe = () => {
    const above = picture(view.b),
      bar = el("input", {
        type: "range",
        min: 0,
        max: 100,
        value: 50,
        "aria-label": `how much of ${kindName(view.b)} is seen`,
      }),
      cut = () => (above.style.clipPath = `inset(0 0 0 ${bar.value}%)`);
    bar.addEventListener("input", cut);
    cut();
    stage.replaceChildren(el("div", { class: "frame" }, el("div", { class: "swipe" }, picture(view.a), above)), bar);
    said.textContent = `Left of the handle ${kindName(view.a)}, right of it ${kindName(view.b)}. Arrow keys move it.`;
  };
  const difference = () => {
    const canvas = el("canvas", {
        role: "img",
        "aria-label": `difference of ${kindName(view.a)} and ${kindName(view.b)}`,
      }),
      gain = el("input", { type: "range", min: 1, max: 255, value: view.gain || 1, "aria-label": "gain" });
    const paint = async () => {
      const [a, b] = await Promise.all([view.a, view.b].map(k => pixels(url(k, view.at)))),
        out = new ImageData(a.width, a.height);
      if (!view.gain) {
        const largest = a.data.reduce((most, v, i) => Math.max(most, Math.abs(v - b.data[i])), 1);
        view.gain = gain.value = Math.floor(255 / largest); // as bright as nothing saturates
      }
      let sum = 0;
      for (let i = 0; i < a.data.length; i += 4) {
        for (let c = 0; c < 3; c++) {
          const d = a.data[i + c] - b.data[i + c];
          sum += d * d;
          out.data[i + c] = Math.min(255, view.gain * Math.abs(d));
        }
        out.data[i + 3] = 255;
      }
      [canvas.width, canvas.height] = [a.width, a.height];
      canvas.getContext("2d").putImageData(out, 0, 0);
      canvas.style.width = `${a.width * (view.zoom || Math.max(1, Math.round((narrow() ? 290 : 560) / a.width)))}px`;
      const mse = sum / (a.width * a.height * 3);
      said.textContent = `${kindName(view.a)} minus ${kindName(view.b)}, ${view.gain} x as bright: ${mse ? `PSNR ${(10 * Math.log10(255 ** 2 / mse)).toFixed(2)} dB on this picture, of 8-bit pixels` : "the pictures are the same, bit for bit"}.`;
    };
    gain.addEventListener("input", () => {
      view.gain = +gain.value;
      paint();
    });
    stage.replaceChildren(el("div", { class: "frame" }, canvas), el("label", {}, "gain ", gain));
    paint();
  };
  const show = () => {
    said.textContent = "";
    ({ beside, swipe, difference })[view.mode]();
    for (const s of [first, second]) s.hidden = view.mode === "beside";
  };
  const names = kinds.map(k => [k, kindName(k)]),
    set = key => v => {
      view[key] = key === "zoom" || key === "at" ? +v : v;
      show();
    };
  const first = chooser("of", names, view.a, set("a")),
    second = chooser("and", names, view.b, set("b"));
  const controls = el(
    "div",
    { class: "controls", "data-pictures": task },
    chooser(
      "picture",
      labels.map((l, i) => [String(i), l]),
      "0",
      set("at"),
    ),
    chooser(
      "view",
      [
        ["beside", "side by side"],
        ["swipe", "swipe"],
        ["difference", "difference"],
      ],
      view.mode,
      set("mode"),
    ),
    first,
    second,
    chooser("zoom", [["0", "to fit"], ...[1, 2, 3, 4, 6, 8].map(z => [String(z), `${z} x`])], "0", set("zoom")),
  );
  show();
  return el("div", {}, controls, stage, said);
}
async function pixels(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = el("canvas", { width: image.naturalWidth, height: image.naturalHeight }),
    context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function texts(task, items, kinds) {
  const first = items[kinds[0]],
    others = kinds.filter(k => k !== "float");
  return el(
    "div",
    {},
    el(
      "p",
      { class: "hint" },
      "Words that a design writes otherwise than the float network: ",
      el("ins", {}, "underlined"),
      " where it wrote them, ",
      el("del", {}, "struck out"),
      " where it left them out.",
    ),
    first.map((item, i) =>
      el(
        "div",
        { class: "given" },
        el(
          "div",
          { class: "texts" },
          el("div", {}, el("h4", {}, "given"), el("p", {}, item.source.trim())),
          el("div", {}, el("h4", {}, "right answer"), el("p", {}, item.target.trim())),
          "float" in items
            ? el("div", {}, el("h4", {}, "float network"), el("p", {}, items.float[i].text.trim()))
            : null,
          others.map(k =>
            el(
              "div",
              {},
              el("h4", {}, kindName(k)),
              el("p", {}, "float" in items ? marked(items.float[i].text, items[k][i].text) : items[k][i].text.trim()),
            ),
          ),
        ),
      ),
    ),
  );
}
function marked(before, after) {
  // the longest common subsequence of words stays as it is
  const a = before.trim().match(/\S+\s*/g) ?? [],
    b = after.trim().match(/\S+\s*/g) ?? [],
    out = [];
  const same = (i, j) => a[i].trim() === b[j].trim(),
    best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = same(i, j) ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  let gone = [],
    come = [];
  const flush = () => {
    for (const [tag, words] of [
      ["del", gone],
      ["ins", come],
    ])
      if (words.length) out.push(el(tag, {}, words.join("").trim()), " ");
    [gone, come] = [[], []];
  };
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && same(i, j)) {
      flush();
      out.push(b[j++]);
      i++;
    } else if (i < a.length && (j === b.length || best[i + 1][j] >= best[i][j + 1])) gone.push(a[i++]);
    else come.push(b[j++]);
  }
  flush();
  return out;
}
