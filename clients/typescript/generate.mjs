// Writes src/gen from the contracts in ../../proto. BUF names another buf than that of the repository's .venv.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const proto = fileURLToPath(new URL("../../proto/", import.meta.url));
const buf = process.env.BUF ?? fileURLToPath(new URL("../../.venv/bin/buf", import.meta.url));
execFileSync(buf, ["generate", "--template", "buf.gen.typescript.yaml", ...process.argv.slice(2)], { cwd: proto, stdio: "inherit" });
