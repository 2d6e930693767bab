import { Command, CommanderError, Option } from "commander";
import { VERSION } from "../version.ts";

/** A flag that takes one value, as `--help` shows it. */
export interface Flag {
  readonly flag: string;
  readonly placeholder: string;
  readonly description: string;
}

const COMMANDS = ["serve", "config", "verify"] as const;
export type CommandName = (typeof COMMANDS)[number];

/** What was typed, unchecked but for its shape. Of a flag given twice the last one counts. */
export type CommandLine =
  | {
      readonly kind: "parsed";
      readonly command: CommandName;
      /** What follows the command: the directory that `verify` is to look at. */
      readonly operand: string | undefined;
      readonly flags: ReadonlyMap<string, string>;
      readonly problems: readonly string[];
    }
  | { readonly kind: "print"; readonly text: string };

/**
 * Parses the command line. Nothing is thrown for what was typed: unknown flags, unknown commands and a missing value
 * become problems, so that they appear in one report with the values that are wrong.
 */
export function parseCommandLine(args: readonly string[], flags: readonly Flag[]): CommandLine {
  const printed: string[] = [];
  const problems: string[] = [];
  const command = describeCommand(flags, printed);
  try {
    command.parse(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: "print", text: printed.join("") };
    problems.push(`command line: ${error.message.replace(/^error: /, "")}`);
  }
  const operands = command.args.filter((argument) => !argument.startsWith("-"));
  for (const unknown of command.args.filter((argument) => argument.startsWith("-"))) {
    problems.push(`command line: unknown option ${unknown}; see --help`);
  }
  const name = COMMANDS.find((candidate) => candidate === (operands[0] ?? "serve"));
  const taken = name === "verify" ? 2 : 1;
  const surplus = name === undefined ? operands : operands.slice(taken);
  if (surplus.length > 0 && problems.length === 0) {
    problems.push(`command line: expected one of the commands ${COMMANDS.join(", ")}, got ${surplus.join(" ")}`);
  }
  const values = Object.entries(command.opts<Record<string, string>>());
  const operand = name === "verify" ? operands[1] : undefined;
  return { kind: "parsed", command: name ?? "serve", operand, flags: new Map(values), problems };
}

function describeCommand(flags: readonly Flag[], printed: string[]): Command {
  const command = new Command("kura")
    .description("Remote build cache server for Bazel's Remote Execution API v2.")
    .argument(
      "[command]",
      "serve (default): run the server; config: print the effective options and their sources; " +
        "verify [DIR]: check every record of a data directory that no server uses",
    )
    .allowUnknownOption()
    .allowExcessArguments()
    .exitOverride()
    .configureOutput({ writeOut: (text) => printed.push(text), writeErr: () => {} })
    .version(VERSION, "--version", "print the version and exit")
    .helpOption("--help", "print this help and exit");
  for (const { flag, placeholder, description } of flags) {
    const option = new Option(`--${flag} <${placeholder}>`, description);
    // Keyed by the flag as it is written in the file and in messages, not by commander's camel case.
    option.attributeName = () => flag;
    command.addOption(option);
  }
  return command;
}
