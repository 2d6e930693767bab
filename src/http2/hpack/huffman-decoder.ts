import { HUFFMAN_EOS, huffmanCodes } from "./huffman-code.ts";

/**
 * A state is an inner node of the code's tree: the bits seen since the last symbol. Half a byte at a time it moves on:
 *
 *     TRANSITIONS[state * 16 + nibble]:   bits 0-8  next state
 *                                         bit  9    a symbol ends here (at most one: no code is shorter than 5 bits)
 *                                         bit  10   dead end: the EOS symbol
 *                                         bits 16-  that symbol
 */
const TRANSITIONS = new Int32Array(257 * 16);
/** 1 for the states in which a text may end: at most 7 bits are pending, all of them ones (RFC 7541, section 5.2). */
const MAY_END = new Uint8Array(257);
const STATE_MASK = 0x1ff;
const HAS_SYMBOL = 0x200;
const DEAD_END = 0x400;
const SYMBOL_SHIFT = 16;

fillTables();

/** Decoded bytes of the text in hand. A symbol takes 5 bits at least, so 8/5 of the input is room enough. */
let scratch = Buffer.allocUnsafeSlow(1024);

/** @returns the text as latin1, undefined where the bytes are no Huffman-coded text. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string | undefined {
  const bytesMax = Math.ceil(((end - start) * 8) / 5);
  if (scratch.length < bytesMax) scratch = Buffer.allocUnsafeSlow(bytesMax * 2);
  const output = scratch;
  let filled = 0;
  let state = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    let move = TRANSITIONS[state * 16 + (byte >>> 4)]!;
    if ((move & HAS_SYMBOL) !== 0) output[filled++] = move >>> SYMBOL_SHIFT;
    else if ((move & DEAD_END) !== 0) return undefined;
    move = TRANSITIONS[(move & STATE_MASK) * 16 + (byte & 15)]!;
    if ((move & HAS_SYMBOL) !== 0) output[filled++] = move >>> SYMBOL_SHIFT;
    else if ((move & DEAD_END) !== 0) return undefined;
    state = move & STATE_MASK;
  }
  return MAY_END[state] === 1 ? output.toString("latin1", 0, filled) : undefined;
}

interface TreeNode {
  readonly state: number;
  readonly children: [TreeNode | number | undefined, TreeNode | number | undefined];
}

function fillTables(): void {
  const nodes = buildTree();
  for (const node of nodes) {
    for (let nibble = 0; nibble < 16; nibble++) TRANSITIONS[node.state * 16 + nibble] = transition(node, nibble, nodes);
  }
  let node: TreeNode | number | undefined = nodes[0];
  for (let pendingBits = 0; pendingBits <= 7 && typeof node === "object"; pendingBits++) {
    MAY_END[node.state] = 1;
    node = node.children[1];
  }
}

function buildTree(): TreeNode[] {
  const nodes: TreeNode[] = [{ state: 0, children: [undefined, undefined] }];
  for (const { symbol, code, bits } of huffmanCodes()) {
    let node = nodes[0]!;
    for (let bit = bits - 1; bit > 0; bit--) {
      const side = ((code >>> bit) & 1) as 0 | 1;
      let child = node.children[side];
      if (typeof child !== "object") {
        child = { state: nodes.length, children: [undefined, undefined] };
        node.children[side] = child;
        nodes.push(child);
      }
      node = child;
    }
    node.children[(code & 1) as 0 | 1] = symbol;
  }
  return nodes;
}

function transition(from: TreeNode, nibble: number, nodes: readonly TreeNode[]): number {
  let node = from;
  let symbol: number | undefined;
  for (let bit = 3; bit >= 0; bit--) {
    const child = node.children[((nibble >>> bit) & 1) as 0 | 1];
    if (child === undefined || child === HUFFMAN_EOS) return DEAD_END;
    if (typeof child === "number") {
      symbol = child;
      node = nodes[0]!;
    } else node = child;
  }
  return symbol === undefined ? node.state : node.state | HAS_SYMBOL | (symbol << SYMBOL_SHIFT);
}
