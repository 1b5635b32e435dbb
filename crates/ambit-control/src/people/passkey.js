// What a form cannot do: ask the browser for a passkey, and put its answer into the form of the page.
"use strict";

(() => {
  const form = document.getElementById("passkey");
  if (!form) {
    return;
  }
  const alert = document.getElementById("passkey-alert");
  const button = form.querySelector("button");

  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (it) => it.charCodeAt(0));
  };
  const text = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const put = (name, value) => {
    form.elements.namedItem(name).value = value;
  };

  const get = async (asked) => {
    const found = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(asked.challenge),
        rpId: asked.rp,
        allowCredentials: [],
        userVerification: "required",
      },
    });
    const handle = found.response.userHandle;
    put("credential", text(found.rawId));
    put("client_data", text(found.response.clientDataJSON));
    put("authenticator_data", text(found.response.authenticatorData));
    put("signature", text(found.response.signature));
    put("user_handle", handle ? text(handle) : "");
  };

  const create = async (asked) => {
    const algorithms = asked.algorithms.split(" ");
    const made = await navigator.credentials.create({
      publicKey: {
        challenge: bytes(asked.challenge),
        rp: { id: asked.rp, name: "Ambit" },
        user: { id: bytes(asked.user), name: asked.name, displayName: asked.name },
        pubKeyCredParams: algorithms.map((it) => ({ type: "public-key", alg: Number(it) })),
        authenticatorSelection: {
          residentKey: "required",
          requireResidentKey: true,
          userVerification: "required",
        },
        attestation: "none",
      },
    });
    put("credential", text(made.rawId));
    put("client_data", text(made.response.clientDataJSON));
    put("authenticator_data", text(made.response.getAuthenticatorData()));
    put("public_key", text(made.response.getPublicKey()));
    put("algorithm", String(made.response.getPublicKeyAlgorithm()));
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    alert.hidden = true;
    button.disabled = true;
    try {
      if (form.dataset.asks === "create") {
        await create(form.dataset);
      } else {
        await get(form.dataset);
      }
      form.submit();
    } catch (error) {
      button.disabled = false;
      // Who uses a keyboard goes on from here.
      button.focus();
      alert.textContent =
        error.name === "InvalidStateError"
          ? "This device has a passkey for you already: sign in with it."
          : "The browser gave no passkey. Try again, or use another device.";
      alert.hidden = false;
    }
  });
})();
