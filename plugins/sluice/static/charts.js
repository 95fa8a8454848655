// Draws a topic's series, given as JSON in the page. Drag to zoom; a double click shows all again.
"use strict";
(() => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const text = getComputedStyle(document.body).color;
  const grid = {stroke: colour("--line"), width: 1};
  const palette = ["--link", "--good", "--warn", "--bad", "--other"];
  const history = JSON.parse(document.getElementById("history").textContent);
  const sync = uPlot.sync("topic");
  const charts = [];

  function draw(id, series) {
    const place = document.getElementById(id);
    if (!place || history.at.length === 0) return;
    const options = {
      width: place.clientWidth,
      height: 170,
      cursor: {sync: {key: sync.key}, drag: {x: true, y: false}},
      scales: {y: {range: (_, low, high) => [0, Math.max(high, 1) * 1.05]}},
      axes: [{stroke: text, grid, ticks: grid}, {stroke: text, grid, ticks: grid, size: 70}],
      series: [{}, ...series.map(([label, , stroke], number) => ({
        label, stroke: colour(stroke || palette[number % palette.length]), width: 2,
        points: {size: 5}, spanGaps: true,
      }))],
    };
    charts.push([new uPlot(options, [history.at, ...series.map(([, values]) => values)], place), place]);
  }

  const named = (object, prefix) => Object.entries(object).map(([name, values]) => [prefix + name, values]);
  draw("rows", [["rows", history.rows, "--good"], ["refused", history.refused, "--bad"]]);
  draw("seconds", [["seconds", history.seconds, "--link"]]);
  draw("versions", named(history.versions, "version "));
  draw("failed", named(history.failed, "").map(([name, values]) =>
    [name, values, name === "critical" ? "--bad" : "--warn"]));
  window.addEventListener("resize", () => {
    for (const [chart, place] of charts) chart.setSize({width: place.clientWidth, height: 170});
  });
})();
