(() => {
  "use strict";
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const figures = [...document.querySelectorAll(".figure")];
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    // Named one by one: plotly's own set has a button that sends the data to its makers' server.
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]],
    plotlyServerURL: "",
  };
  const plotOf = (figure) => figure.querySelector(".plot");

  // Figures in the cells of a heat map give way to a scale of colours where the cells are too narrow for them.
  const declutter = (plot) => {
    const picture = plot.querySelector(".heatmaplayer image");
    const texts = [...plot.querySelectorAll(".heatmap-label text")];
    if (!picture || !texts.length) return;
    const columns = Math.max(...plot.data.map((trace) => trace.x.length));
    const widest = Math.max(...texts.map((text) => text.getBoundingClientRect().width));
    if (widest + 4 < picture.getBoundingClientRect().width / columns) return;
    Plotly.update(plot, { texttemplate: "" }, { "coloraxis.showscale": true });
  };

  // A legend that takes several lines would eat the plot: give the figure as much height more.
  const fit = (plot) => {
    const legend = plot.querySelector(".legend");
    const extra = legend ? Math.max(0, legend.getBoundingClientRect().height - 32) : 0;
    const height = Math.round(Number(plot.dataset.height) + extra);
    if (plot.layout.height === height) return;
    plot.style.height = `${height}px`;
    Plotly.relayout(plot, { height });
  };

  const tidy = (plot) => {
    fit(plot);
    declutter(plot);
  };

  // Steps of a figure: a slider, and a button that moves it. On paper stands what stood there first.
  const still = new Map();
  const animate = (figure, plot, frames) => {
    const box = figure.nextElementSibling;
    const [button, slider, output] = ["button", "input", "output"].map((name) => box.querySelector(name));
    const names = [...box.querySelectorAll("li")].map((item) => item.textContent);
    const first = plot.data.map((trace) => ({ ...trace }));
    const change = (traces) => Plotly.react(plot, plot.data.map((trace, i) => ({ ...trace, ...traces[i] })), plot.layout);
    const pace = Math.min(900, Math.max(120, 12000 / frames.length));
    let timer = 0;
    const show = (k) => {
      slider.value = k;
      output.textContent = names[k];
      slider.setAttribute("aria-valuetext", names[k]);
      change(frames[k].data);
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      button.textContent = "Play";
    };
    const next = () => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) >= frames.length - 1) stop();
    };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (Number(slider.value) >= frames.length - 1) show(0);
      button.textContent = "Pause";
      timer = setInterval(next, pace);
    });
    slider.addEventListener("input", () => {
      stop();
      show(Number(slider.value));
    });
    slider.setAttribute("aria-valuetext", output.textContent);
    box.hidden = false;
    still.set(plot, {
      before: () => {
        stop();
        change(first);
      },
      after: () => show(Number(slider.value)),
    });
  };

  const draw = (figure) => {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "yes";
    const plot = plotOf(figure);
    const { data, layout, frames } = JSON.parse(figure.querySelector("script").textContent);
    if (touch) layout.dragmode = false;
    plot.dataset.height = layout.height;
    config.toImageButtonOptions = { filename: figure.id, scale: 2 };
    Plotly.newPlot(plot, data, layout, { ...config }).then(() => tidy(plot));
    if (frames) animate(figure, plot, frames);
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "800px 0px" },
  );
  figures.forEach((figure) => seen.observe(figure));

  // Widths change: a legend may need more lines, cells may be too narrow; what is folded waits until it is unfolded.
  const adapt = () => figures.filter((f) => f.dataset.drawn && f.offsetParent).forEach((f) => tidy(plotOf(f)));
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(adapt, 250);
  });
  document.querySelectorAll("details.finding").forEach((details) => {
    details.addEventListener("toggle", () => {
      if (!details.open) return;
      details.querySelectorAll(".figure[data-drawn]").forEach((f) => Plotly.Plots.resize(plotOf(f)));
    });
  });

  // A link to a folded finding unfolds it.
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  window.addEventListener("hashchange", unfold);
  unfold();

  // Paper: everything unfolded and drawn at the width of a page.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((d) => (d.open = true));
    figures.forEach(draw);
    still.forEach((steps) => steps.before());
    for (const plot of figures.map(plotOf)) {
      Plotly.relayout(plot, { width: 640, autosize: false });
      tidy(plot);
    }
  });
  window.addEventListener("afterprint", () => {
    const widened = figures.map((f) => Plotly.relayout(plotOf(f), { width: null, autosize: true }));
    still.forEach((steps) => steps.after());
    Promise.all(widened).then(() => folded.forEach((d) => (d.open = false)));
  });
})();
