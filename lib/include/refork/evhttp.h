#pragma once

/* librefork for HTTP servers on libevent's evhttp (2.1). evhttp keeps its routing and its protocol; what a
 * worker needs is done here: each request gets a domain, and an error reported to it (or thrown in it, in
 * C++) is answered with 500; accepting pauses and resumes; a drain closes connections without losing a
 * request on its way.
 *
 *   refork_worker_open(&worker, NULL);
 *   struct refork_evhttp *server = refork_evhttp_new(base, evhttp_new(base), worker);
 *   refork_evhttp_set_gencb(server, serve, NULL);
 *   refork_evhttp_listen_all(server);
 *   refork_worker_ready(worker);
 *   event_base_dispatch(base);
 *   refork_evhttp_free(server);
 *   return refork_worker_finish(worker);
 *
 * Everything here is used on the thread that runs the loop. The server sets the worker's on_pause, on_resume,
 * on_drain and on_drained, and the evhttp's bevcb and gencb; it ignores SIGPIPE if nobody handles it, since
 * libevent writes to sockets that clients have closed. Virtual hosts, TLS and evhttp_bind_socket() are not
 * covered.
 *
 * C99 and C++; link with libevent_extra (or libevent). */

#include "refork/evhttp/connections.h"
#include "refork/evhttp/requests.h"
#include "refork/evhttp/server.h"
#include "refork/evhttp/state.h"
#include "refork/evhttp/worker.h"
