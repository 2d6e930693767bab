/** The examples of RFC 7541, appendix C: header blocks as hex, and the fields that they stand for. */

export interface HpackExample {
  readonly name: string;
  readonly tableBytes: number;
  /** To be decoded in order, by one decoder. */
  readonly blocks: readonly { readonly hex: string; readonly fields: readonly string[] }[];
}

const DATE_21 = "Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_22 = "Mon, 21 Oct 2013 20:13:22 GMT";
const COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const LOCATION = "https://www.example.com";

const FIRST_REQUEST = [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"];
const SECOND_REQUEST = [...FIRST_REQUEST, "cache-control", "no-cache"];
const THIRD_REQUEST = [
  ":method",
  "GET",
  ":scheme",
  "https",
  ":path",
  "/index.html",
  ":authority",
  "www.example.com",
].concat(["custom-key", "custom-value"]);
const FIRST_RESPONSE = [":status", "302", "cache-control", "private", "date", DATE_21, "location", LOCATION];
const SECOND_RESPONSE = [":status", "307", "cache-control", "private", "date", DATE_21, "location", LOCATION];
const THIRD_RESPONSE = [":status", "200", "cache-control", "private", "date", DATE_22, "location", LOCATION].concat([
  "content-encoding",
  "gzip",
  "set-cookie",
  COOKIE,
]);

export const HPACK_EXAMPLES: readonly HpackExample[] = [
  {
    name: "C.2.1 literal with indexing",
    tableBytes: 4096,
    blocks: [
      { hex: "400a637573746f6d2d6b65790d637573746f6d2d686561646572", fields: ["custom-key", "custom-header"] },
      { hex: "be", fields: ["custom-key", "custom-header"] },
    ],
  },
  {
    name: "C.2.2 literal without indexing",
    tableBytes: 4096,
    blocks: [{ hex: "040c2f73616d706c652f70617468", fields: [":path", "/sample/path"] }],
  },
  {
    name: "C.2.3 literal never indexed",
    tableBytes: 4096,
    blocks: [{ hex: "100870617373776f726406736563726574", fields: ["password", "secret"] }],
  },
  { name: "C.2.4 indexed field", tableBytes: 4096, blocks: [{ hex: "82", fields: [":method", "GET"] }] },
  {
    name: "C.3 requests without Huffman coding",
    tableBytes: 4096,
    blocks: [
      { hex: "828684410f7777772e6578616d706c652e636f6d", fields: FIRST_REQUEST },
      { hex: "828684be58086e6f2d6361636865", fields: SECOND_REQUEST },
      { hex: "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", fields: THIRD_REQUEST },
    ],
  },
  {
    name: "C.4 requests with Huffman coding",
    tableBytes: 4096,
    blocks: [
      { hex: "828684418cf1e3c2e5f23a6ba0ab90f4ff", fields: FIRST_REQUEST },
      { hex: "828684be5886a8eb10649cbf", fields: SECOND_REQUEST },
      { hex: "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", fields: THIRD_REQUEST },
    ],
  },
  {
    name: "C.5 responses without Huffman coding, with evictions",
    tableBytes: 256,
    blocks: [
      {
        hex:
          "4803333032580770726976617465611d4d6f6e2c203231204f63742032303133" +
          "2032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        fields: FIRST_RESPONSE,
      },
      { hex: "4803333037c1c0bf", fields: SECOND_RESPONSE },
      {
        hex:
          "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a6970" +
          "7738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b" +
          "2076657273696f6e3d31",
        fields: THIRD_RESPONSE,
      },
    ],
  },
  {
    name: "C.6 responses with Huffman coding, with evictions",
    tableBytes: 256,
    blocks: [
      {
        hex:
          "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff" +
          "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        fields: FIRST_RESPONSE,
      },
      { hex: "4883640effc1c0bf", fields: SECOND_RESPONSE },
      {
        hex:
          "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab" +
          "77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        fields: THIRD_RESPONSE,
      },
    ],
  },
];
