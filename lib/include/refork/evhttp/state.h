#pragma once

/* What an evhttp server, its connections and its requests are made of: the callbacks, the limits, and what is
 * kept of each. No function here does more than start a timer. Included by refork/evhttp.h. */

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

#include "refork/refork.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How long a closed connection is still read from, so that unread input does not reset the answer on its way.
 */
#define REFORK_EVHTTP_LINGER_MS 500
/* How long accepting rests when there are no descriptors left. */
#define REFORK_EVHTTP_ACCEPT_AGAIN_MS 50

struct refork_evhttp;
struct refork_evhttp_request;

/* Serves a request: answers it now or later by one of the functions below, or reports an error to its domain,
 * which is active here and in all that is scheduled from here by the functions of libevent.h. */
typedef void (*refork_evhttp_cb)(struct refork_evhttp_request* request, void* arg);
/* What a request is called in records; written into the buffer. */
typedef void (*refork_evhttp_label_cb)(struct evhttp_request* request, char* label, size_t size, void* arg);
/* Writes the body of the answer to a failed request, whose status is 500. Returns 0; anything else drops the
 * connection instead. As in any error handler, what it reports to the request's domain is its own failure. */
typedef int (*refork_evhttp_failure_cb)(struct refork_evhttp_request* request, const refork_failure* failure,
                                        struct evbuffer* body, void* arg);

enum refork_evhttp_state_ {
  REFORK_EVHTTP_FRESH_,    /* not known to evhttp by its connection yet */
  REFORK_EVHTTP_OPEN_,     /* evhttp serves it */
  REFORK_EVHTTP_ANSWERED_, /* the last answer is out; closed as soon as evhttp has let go of it */
  REFORK_EVHTTP_LINGERING_,
  REFORK_EVHTTP_LEAVING_ /* idle for too long, and shut on our side: what still comes has crossed */
};

struct refork_evhttp_connection_ {
  struct refork_evhttp* server;
  struct refork_evhttp_connection_ *next, **place;
  struct bufferevent* bev;
  struct evhttp_connection* evcon;
  struct event* timer;
  struct refork_evhttp_request* request; /* the one under way */
  enum refork_evhttp_state_ state;
  int begun; /* a byte of the next request has come */
  refork_hold hold;
};

struct refork_evhttp_request {
  struct refork_evhttp* server;
  struct refork_evhttp_connection_* connection; /* NULL once the request is over */
  struct evhttp_request* req;                   /* the same */
  refork_domain* domain; /* which keeps this struct: it lives as long as anything is bound there */
  refork_request in_flight;
  int answered; /* whole, or by the failure callback: nothing is added, nothing taken back */
};

struct refork_evhttp_route_ {
  struct refork_evhttp_route_* next;
  struct refork_evhttp* server;
  refork_evhttp_cb function;
  void* arg;
};

struct refork_evhttp_listener_ {
  struct refork_evhttp_listener_* next;
  struct refork_evhttp* server;
  struct evhttp_bound_socket* socket;
  struct event* again;
  int own; /* nobody else holds it: its queue dies with it */
};

/* What the worker said last; only grows from DRAINING on. */
enum refork_evhttp_told_ {
  REFORK_EVHTTP_ACCEPT_,
  REFORK_EVHTTP_PAUSE_,
  REFORK_EVHTTP_DRAIN_,
  REFORK_EVHTTP_DRAINED_
};

struct refork_evhttp {
  struct event_base* base;
  struct evhttp* http;
  refork_worker* worker;
  pthread_t thread; /* the loop's */
  int wake_fd;
  struct event* wake;
  struct event* control; /* of a worker without a thread */
  struct event* closing; /* own listeners whose queues are being emptied */
  struct event* beating; /* for the watchdog */
  int told;              /* written where the worker calls, read by the loop */
  uint32_t lame_duck_ms;
  refork_hold closing_hold;
  int draining;
  struct refork_evhttp_connection_* connections;
  struct refork_evhttp_connection_* reading; /* whose input changed last */
  struct refork_evhttp_listener_* listeners;
  struct refork_evhttp_route_* routes;
  refork_evhttp_label_cb label;
  void* label_arg;
  refork_evhttp_failure_cb failure;
  void* failure_arg;
};

static inline void refork_evhttp_start_timer_(struct event* timer, uint32_t ms) {
  struct timeval after;
  after.tv_sec = ms / 1000;
  after.tv_usec = (long)(ms % 1000) * 1000;
  event_add(timer, &after);
}

#ifdef __cplusplus
}
#endif
