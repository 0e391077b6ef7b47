// The same call by curl.

const KEYS = { userToken: "$TOKEN", publishKey: "$NOTIFYD_PUBLISH_KEYS", adminKey: "$NOTIFYD_ADMIN_KEYS" };

export function curlOf(call, origin) {
  const path = call.path.replaceAll(/{(\w+)}/g, (_, name) => name.toUpperCase());
  const lines = [`curl ${call.method === "get" ? "" : `-X ${call.method.toUpperCase()} `}'${origin}${path}'`];
  const names = call.security.flatMap((one) => Object.keys(one));
  const name = names.findLast((each) => each in KEYS);
  if (name) lines.push(`-H "Authorization: Bearer ${KEYS[name]}"`);
  const content = call.requestBody?.content["application/json"];
  const example = Object.values(content?.examples ?? {})[0];
  if (example) {
    lines.push("-H 'Content-Type: application/json'");
    lines.push(`-d '${JSON.stringify(example.value).replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}
