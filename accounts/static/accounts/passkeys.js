// Passkeys on our own pages. The forms stay hidden in browsers without passkeys.
(() => {
  "use strict";
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const API = "/api/auth/passkey";

  const text = (buffer) =>
    btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""))
      .replaceAll("+", "-")
      .replaceAll("/", "_")
      .replaceAll("=", "");

  const raw = (listed) =>
    listed.map(({ id, type, transports }) => ({ id: Uint8Array.from(id), type, transports }));

  async function call(where, body) {
    const answer = await fetch(API + where, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error.message);
    return said;
  }

  async function add(form) {
    const asked = await call("/register/begin/", {});
    const made = await navigator.credentials.create({
      publicKey: {
        challenge: Uint8Array.from(asked.challenge),
        rp: { id: asked.rp.id, name: "Focus" },
        user: { ...asked.user, id: Uint8Array.from(asked.user.id) },
        pubKeyCredParams: asked.pubKeyCredParams,
        timeout: asked.timeout,
        attestation: asked.attestation,
        authenticatorSelection: asked.authenticatorSelection,
        excludeCredentials: raw(asked.excludeCredentials),
      },
    });
    await call("/register/complete/", {
      registration_id: asked.registration_id,
      name: form.elements.name.value,
      credential: {
        id: made.id,
        type: made.type,
        response: {
          clientDataJSON: text(made.response.clientDataJSON),
          attestationObject: text(made.response.attestationObject),
          transports: made.response.getTransports?.() ?? [],
        },
      },
    });
    location.hash = "passkeys";
    location.reload();
  }

  async function signIn(form) {
    const asked = await call("/login/begin/", {});
    const shown = await navigator.credentials.get({
      publicKey: {
        challenge: Uint8Array.from(asked.challenge),
        timeout: asked.timeout,
        rpId: asked.rpId,
        allowCredentials: raw(asked.allowCredentials),
        userVerification: asked.userVerification,
      },
    });
    const limit = document.getElementById("monthly-limit");
    const none = document.querySelector("input[name=no_limit]:checked");
    if (limit && !none) form.elements.monthly_limit.value = limit.value;
    const { response } = shown;
    form.elements.authentication_id.value = asked.authentication_id;
    form.elements.credential.value = JSON.stringify({
      id: shown.id,
      type: shown.type,
      response: {
        clientDataJSON: text(response.clientDataJSON),
        authenticatorData: text(response.authenticatorData),
        signature: text(response.signature),
        userHandle: response.userHandle ? text(response.userHandle) : null,
      },
    });
    form.submit();
  }

  function explain(failure) {
    // The browser does not say why: the user cancelled, time ran out, or no passkey fits.
    if (failure.name === "NotAllowedError") return "The passkey prompt was cancelled, or no passkey was found. Try again.";
    if (failure.name === "InvalidStateError") return "This device already has a passkey for your account.";
    return failure.message || "The passkey could not be used. Try again.";
  }

  const acts = { add, "sign-in": signIn };
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const problem = form.querySelector("[data-problem]");
    const button = form.querySelector("button");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      problem.hidden = true;
      button.disabled = true;
      try {
        await acts[form.dataset.passkey](form);
      } catch (failure) {
        problem.textContent = explain(failure);
        problem.hidden = false;
        button.disabled = false;
      }
    });
  }
})();
