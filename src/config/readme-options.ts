import { defaultText, environmentName, type Option, OPTIONS } from "./options.ts";

const BEGIN = "<!-- options: written by `npm run readme` from src/config/options.ts -->";
const END = "<!-- options end -->";

/** @returns the README with the option table between its two markers made anew. */
export function withOptionTable(readme: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`README.md: expected the markers ${BEGIN} and ${END}`);
  return `${readme.slice(0, begin)}${BEGIN}\n${optionTable()}\n${readme.slice(end)}`;
}

function optionTable(): string {
  const rows = Object.values<Option<unknown>>(OPTIONS).map((definition) => [
    `\`--${definition.flag} ${definition.kind.placeholder}\``,
    `\`${environmentName(definition.flag)}\``,
    defaultText(definition),
    definition.help,
  ]);
  const lines = [["option", "environment", "default", "meaning"], ["---", "---", "---", "---"], ...rows];
  return lines.map((cells) => `| ${cells.map(escapeCell).join(" | ")} |`).join("\n");
}

/** A bar would end the cell, also within code. */
function escapeCell(text: string): string {
  return text.replaceAll("|", String.raw`\|`);
}
