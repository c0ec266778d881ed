/* Browsers start no workers for pages that were opened as files. There, the search runs in a hidden frame instead.
 * The theme's search script recognizes this by the name IFrameWorker and loads its parts relative to itself. */
(() => {
  if (location.protocol !== "file:") return

  /** What importScripts does in a worker, with a promise: scripts of a document cannot be loaded synchronously. */
  const importScripts = (...urls) =>
    urls.reduce(
      (loaded, url) =>
        loaded.then(
          () =>
            new Promise((resolve, reject) => {
              const script = document.createElement("script")
              script.src = url
              script.onload = resolve
              script.onerror = () => reject(new Error(`cannot load ${url}`))
              document.body.appendChild(script)
            }),
        ),
      Promise.resolve(),
    )

  class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inside = this.frame.contentWindow
      this.ready = new Promise((resolve) => {
        this.frame.onload = resolve
      })
      inside.document.open()
      inside.document.write(
        `<html><body><script>
           postMessage = (data) => parent.dispatchEvent(new MessageEvent("message", { data, source: window }))
           importScripts = ${importScripts}
         <\/script><script src="${url}"><\/script></body></html>`,
      )
      inside.document.close()
      window.addEventListener("message", (event) => {
        if (event.source !== inside) return
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        this.onmessage?.(message)
      })
    }

    postMessage(data) {
      const inside = this.frame.contentWindow
      this.ready.then(() => inside.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }

  window.IFrameWorker = IFrameWorker
  window.Worker = IFrameWorker
})()
