// One step of making JSON: what is not known is absent. Runs in browsers.

/** Drops the keys whose value is undefined, in place. */
export function known<T extends object>(object: { [K in keyof T]: T[K] | undefined }): T {
  for (const key in object) if (object[key] === undefined) delete object[key]
  return object as T
}
