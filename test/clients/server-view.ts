import type { ServerProcess } from "../support/server-process.ts";

/**
 * What the server itself says of a run that should have been without faults: the client's report alone could miss
 * what a client retries or hides.
 * @returns what is wrong; nothing where all is well.
 */
export async function checkServerView(server: ServerProcess): Promise<string[]> {
  const wrong: string[] = [];
  if (!server.running) return ["the server is gone"];
  for (const path of ["/healthz", "/readyz"]) {
    const response = await fetch(`http://${server.endpoint}${path}`);
    await response.arrayBuffer();
    if (response.status !== 200) wrong.push(`${path} answers ${response.status}`);
  }
  const status = await fetch(`http://${server.endpoint}/status`);
  const text = await status.text();
  console.log(`server: ${text.replaceAll(/\s+/g, " ").trim()}`);
  if (status.status !== 200) wrong.push(`/status answers ${status.status}`);
  const metrics = await fetch(`http://${server.endpoint}/metrics`);
  wrong.push(...failedCalls(await metrics.text()));
  return wrong;
}

/**
 * Calls that ended otherwise than with OK or NOT_FOUND and requests answered otherwise than with 2xx or 404 (a miss is no
 * fault); and that nothing was stored.
 */
function failedCalls(metrics: string): string[] {
  const lines = metrics.split("\n").filter((line) => !line.endsWith(" 0"));
  const calls = lines.filter((line) => line.startsWith("kura_rpc_calls_total{"));
  const requests = lines.filter((line) => line.startsWith("kura_http_requests_total{"));
  const faults = [
    ...calls.filter((line) => !/status="(?:ok|notFound)"/.test(line)),
    ...requests.filter((line) => !/status="(?:2\d\d|404)"/.test(line)),
  ];
  const areStored = [...calls, ...requests].some((line) => /method="(?:[\w./]*ByteStream\/Write|PUT)"/.test(line));
  return areStored ? faults : [...faults, "/metrics counts nothing that was stored"];
}
