/** Two kinds of chart, as SVG text. Colours and letters are those of a plain page, light or dark. */

const COLOURS = ["#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#4a5568", "#b7791f"];
const TEXT = 'font-family="sans-serif" font-size="12" fill="#666"';
const LABEL_WIDTH = 250;
const PLOT_WIDTH = 450;
const BAR_HEIGHT = 14;
const GROUP_GAP = 10;
const TOP = 50;
const PLOT_HEIGHT = 320;
const MARGIN = 60;

export interface BarChart {
  readonly title: string;
  readonly series: readonly string[];
  /** Bars of a group are drawn in proportion to its largest value; a series without a value has no bar. */
  readonly groups: readonly { readonly label: string; readonly values: readonly (number | undefined)[] }[];
}

export function barChart({ title, series, groups }: BarChart): string {
  const parts: string[] = [];
  let y = TOP;
  for (const { label, values } of groups) {
    const largest = Math.max(...values.map((value) => value ?? 0));
    parts.push(text(LABEL_WIDTH - 8, y + BAR_HEIGHT - 3, label, "end"));
    values.forEach((value, i) => {
      if (value === undefined) return;
      const width = (value / largest) * PLOT_WIDTH;
      parts.push(
        `<rect x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT - 2}" fill="${colour(i)}"/>`,
        text(LABEL_WIDTH + width + 5, y + BAR_HEIGHT - 3, formatNumber(value), "start"),
      );
      y += BAR_HEIGHT;
    });
    y += GROUP_GAP;
  }
  return svg(LABEL_WIDTH + PLOT_WIDTH + 80, y, title, series, parts);
}

export interface LineChart {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  /** `points` are measured, `curve` is fitted to them. */
  readonly series: readonly {
    readonly name: string;
    readonly points: readonly Point[];
    readonly curve: readonly Point[];
  }[];
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Both axes from 0. */
export function lineChart({ title, xTitle, yTitle, series }: LineChart): string {
  const all = series.flatMap(({ points, curve }) => [...points, ...curve]);
  const xMax = Math.max(...all.map((point) => point.x));
  const yMax = Math.max(...all.map((point) => point.y));
  const bottom = TOP + PLOT_HEIGHT;
  const right = MARGIN + LABEL_WIDTH + PLOT_WIDTH;
  const place = ({ x, y }: Point): [number, number] => [
    MARGIN + (x / xMax) * (right - MARGIN),
    bottom - (y / yMax) * PLOT_HEIGHT,
  ];
  const parts = [
    `<path d="M${MARGIN} ${TOP}V${bottom}H${right}" fill="none" stroke="#666"/>`,
    text(right, bottom + 32, xTitle, "end"),
    text(MARGIN, TOP - 8, yTitle, "start"),
    ...[0.25, 0.5, 0.75, 1].flatMap((part) => [
      text(MARGIN + part * (right - MARGIN), bottom + 16, formatNumber(part * xMax), "middle"),
      text(MARGIN - 5, bottom - part * PLOT_HEIGHT + 4, formatNumber(part * yMax), "end"),
    ]),
  ];
  series.forEach(({ points, curve }, i) => {
    const path = curve
      .map((point) =>
        place(point)
          .map((at) => at.toFixed(1))
          .join(" "),
      )
      .join("L");
    if (path !== "") parts.push(`<path d="M${path}" fill="none" stroke="${colour(i)}"/>`);
    for (const point of points) {
      const [x, y] = place(point);
      parts.push(`<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3" fill="${colour(i)}"/>`);
    }
  });
  return svg(
    right + MARGIN,
    bottom + 50,
    title,
    series.map(({ name }) => name),
    parts,
  );
}

function svg(width: number, height: number, title: string, series: readonly string[], parts: string[]): string {
  const legend = series.map((name, i) => `<tspan fill="${colour(i)}" dx="12">■ ${escape(name)}</tspan>`);
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    text(8, 16, title, "start"),
    `<text x="0" y="34" ${TEXT}>${legend.join("")}</text>`,
    ...parts,
    "</svg>",
  ];
  return `${lines.join("\n")}\n`;
}

function text(x: number, y: number, content: string, anchor: "start" | "middle" | "end"): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${TEXT}>${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function colour(i: number): string {
  return COLOURS[i % COLOURS.length] ?? "#000";
}

function formatNumber(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en-GB") : `${Number(value.toPrecision(3))}`;
}
