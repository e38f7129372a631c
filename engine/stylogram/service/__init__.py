"""The HTTP service: jobs from clients, one worker process that paints them, and a page that shows them.

server.py     socket and signals            settings.py  every limit
app.py        the routes                    guard.py     who may ask what, and how much
schemas.py    what OpenAPI says of them     catalogue.py tasks, options, and what is refused
events.py     server-sent events            metrics.py   for Prometheus
jobs.py       a job and its states          live.py      those in work, and who watches them
dispatcher.py the queue                     process.py   the worker, seen from the server
archive.py    what is on the disk           store.py     jobs in SQLite
uploads.py    pictures that were sent       urls.py      pictures from JSON: data and http(s) URLs
worker.py     the worker itself             painter.py   stylize jobs of one shape, painted together
"""
