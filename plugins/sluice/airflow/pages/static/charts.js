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

  // All times are UTC, as in the tables.
  const iso = (seconds) => new Date(1000 * seconds).toISOString();
  const shown = (_, at) => at === null ? "–" : iso(at).slice(0, 19).replace("T", " ");
  function times(chart, splits) {
    const span = chart.scales.x.max - chart.scales.x.min;
    const [from, to] = span > 4 * 86400 ? [0, 10] : span > 600 ? [11, 16] : [11, 19];
    return splits.map((at) => iso(at).slice(from, to));
  }

  function draw(id, series) {
    const place = document.getElementById(id);
    if (!place || history.at.length === 0) return;
    const options = {
      width: place.clientWidth,
      height: 170,
      cursor: {sync: {key: sync.key}, drag: {x: true, y: false}},
      scales: {y: {range: (_, low, high) => [0, Math.max(high, 1) * 1.05]}},
      axes: [{stroke: text, grid, ticks: grid, values: times, space: 80}, {stroke: text, grid, ticks: grid, size: 70}],
      series: [{label: "UTC", value: shown}, ...series.map(([label, , stroke], number) => ({
        label, stroke: colour(stroke || palette[number % palette.length]), width: 2,
        points: {size: 5}, spanGaps: true,
      }))],
    };
    place.chart = new uPlot(options, [history.at, ...series.map(([, values]) => values)], place);
    charts.push([place.chart, place]);
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
