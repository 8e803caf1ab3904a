import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";

/** Arguments of a run or an evaluation as the contracts carry them: `toValues({ epochs: 20, optimizer: "AdamW" })`. */
export function toValues(plain: Readonly<Record<string, JsonValue>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(plain).map(([name, value]) => [name, fromJson(ValueSchema, value)]));
}
