// Posts a body that the server refuses before it has read the body, with Node's fetch.
// node early.mjs URL BYTES TRIES [HEADERS as JSON]: prints the count of each outcome.
const [url, bytes, tries, headers = '{}'] = process.argv.slice(2);
const seen = {};
for (let i = 0; i < Number(tries); i++) {
  let outcome;
  try {
    const answer = await fetch(url, {
      method: 'POST',
      body: Buffer.alloc(Number(bytes), 'x'),
      headers: { 'Content-Type': 'application/json', ...JSON.parse(headers) },
    });
    outcome = `${answer.status} ${Object.keys(await answer.json()).join(',')}`;
  } catch (error) {
    outcome = String(error.cause?.code || error);
  }
  seen[outcome] = (seen[outcome] || 0) + 1;
}
console.log(JSON.stringify(seen));
