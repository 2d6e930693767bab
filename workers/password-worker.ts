import { bcryptVerify } from "hash-wasm";
import type { PasswordTask } from "../src/auth/password-pool.ts";

export default (task: PasswordTask): Promise<boolean> => bcryptVerify(task);
