// Keeps the whole site for offline use. Another build has another name, so that nothing of an older one is mixed in.
const NAME = 'edgedigits-{{digest}}', FILES = {{files}};
const clean = async () => Promise.all((await caches.keys()).filter(key => key.startsWith('edgedigits-') && key !== NAME).map(key => caches.delete(key)));
const keep = async () => (await caches.open(NAME)).addAll(FILES.map(file => new Request(file, {cache: 'reload'})));
self.addEventListener('install', event => event.waitUntil(keep().then(() => self.skipWaiting())));
self.addEventListener('activate', event => event.waitUntil(clean().then(() => self.clients.claim())));
self.addEventListener('fetch', event => event.respondWith(caches.open(NAME).then(cache => cache.match(event.request)).then(kept => kept ?? fetch(event.request))));
