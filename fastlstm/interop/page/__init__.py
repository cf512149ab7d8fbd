"""A model as one web page: its weights, an engine in JavaScript and WebAssembly, and what there is to see.

Enter by `assemble.build`. `page.html` and `page.css` are what is shown, `page.js` and `pictures.js` the page's doing,
`network.js` and `worker.js` the engine beside it; `kernel` writes its inner loop, `units` finds units worth watching.
"""
