"""The HTTP service: jobs from clients, one worker process that paints them, and a page that shows them.

server.py     socket and signals            settings.py  every limit
app.py        the routes                    guard.py     who may ask what, and how much
intake.py     a request becomes a job       urls.py      pictures from JSON: data and http(s) URLs
catalogue.py  tasks, options, refusals      work.py      how much a job asks for
schemas.py    what OpenAPI says             events.py    server-sent events
jobs.py       a job and its states          live.py      those in work, and who watches them
dispatcher.py what clients ask for          board.py     the queue, and what the disk has of it
archive.py    what is on the disk           store.py     jobs in SQLite
uploads.py    pictures that were sent       metrics.py   for Prometheus
foreman.py    gives groups to the worker    process.py   the worker, seen from the server
worker.py     the worker itself             painter.py   stylize jobs of one shape, painted together
"""
