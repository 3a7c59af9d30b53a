// The address of the page: the answer that a reload, or another tab, comes back to.

/** @returns {string} the id of the generation that the address names; empty if it names none */
export const followed = () =>
  /^gen_[a-z2-7]{32}$/.exec(new URLSearchParams(location.search).get("follow") ?? "")?.[0] ?? "";

/** @param {string} id of the generation; empty if there is none */
export const showAddress = (id) =>
  history.replaceState(null, "", `${id ? `?follow=${id}` : location.pathname}${location.hash}`);
