// What workerd's HTTP costs without any state.
export default {
  async fetch(request) {
    const key = new URL(request.url).searchParams.get("key");
    return key === null ? new Response("no key\n", { status: 400 }) : new Response("granted\n");
  },
};
