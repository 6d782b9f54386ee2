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

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- inside ---- */

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

/* ---- requests ---- */

/* The request is over, for the worker and for its connection. */
static inline void refork_evhttp_finish_(struct refork_evhttp_request* request) {
  if (request->connection != NULL) request->connection->request = NULL;
  request->connection = NULL;
  request->req = NULL;
  refork_request_end(&request->in_flight);
  refork_domain_unref(request->domain); /* perhaps the last one: then `request` is gone */
}

static inline struct evkeyvalq* refork_evhttp_headers_(struct refork_evhttp_request* request) {
  return evhttp_request_get_output_headers(request->req);
}

static inline void refork_evhttp_set_header_(struct evkeyvalq* headers, const char* key, const char* value) {
  evhttp_remove_header(headers, key);
  if (value != NULL) evhttp_add_header(headers, key, value);
}

/* Whether it may still be answered; then the head says whether the connection goes on. */
static inline int refork_evhttp_begin_answer_(struct refork_evhttp_request* request) {
  if (request->req == NULL || request->answered) return 0;
  if (evhttp_request_get_response_code(request->req) != 0) return 0; /* an answer has begun */
  if (request->server->draining || refork_worker_draining(request->server->worker))
    refork_evhttp_set_header_(refork_evhttp_headers_(request), "Connection", "close");
  return 1;
}

/* What evhttp knows of the request, for reading, and for output headers before the answer begins; NULL once
 * it is over: answered, failed, or given up by the client. Ask each time. */
static inline struct evhttp_request* refork_evhttp_request_get(struct refork_evhttp_request* request) {
  return request->answered ? NULL : request->req;
}

/* Its domain, borrowed. Valid as long as the request: while its answer is awaited, and as long as something
 * is bound to its domain; keep another reference to the domain to keep the request. */
static inline refork_domain* refork_evhttp_request_domain(struct refork_evhttp_request* request) {
  return request->domain;
}

/* evhttp_send_reply() and its kin, which do nothing for a request that is over. */
static inline void refork_evhttp_reply(struct refork_evhttp_request* request, int code, const char* reason,
                                       struct evbuffer* body) {
  if (!refork_evhttp_begin_answer_(request)) return;
  request->answered = 1;
  evhttp_send_reply(request->req, code, reason, body);
}

static inline void refork_evhttp_reply_start(struct refork_evhttp_request* request, int code,
                                             const char* reason) {
  if (refork_evhttp_begin_answer_(request)) evhttp_send_reply_start(request->req, code, reason);
}

static inline void refork_evhttp_reply_chunk(struct refork_evhttp_request* request, struct evbuffer* chunk) {
  if (refork_evhttp_request_get(request) != NULL) evhttp_send_reply_chunk(request->req, chunk);
}

static inline void refork_evhttp_reply_end(struct refork_evhttp_request* request) {
  if (refork_evhttp_request_get(request) == NULL) return;
  request->answered = 1;
  evhttp_send_reply_end(request->req);
}

/* Ends a connection in the midst of an answer, so that the client cannot take what it got for a whole one.
 * evhttp is made to believe that the client hung up: it then lets go of the request as it should. */
static inline void refork_evhttp_drop_(struct refork_evhttp_request* request) {
  const struct linger reset = {1, 0};
  struct bufferevent* bev = request->connection->bev;
  setsockopt(bufferevent_getfd(bev), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  bufferevent_trigger_event(bev, BEV_EVENT_READING | BEV_EVENT_EOF, 0);
}

/* The domain's error handler. What comes after a whole answer, or is the second error, changes nothing for
 * the client. */
static inline void refork_evhttp_failed_(const refork_failure* failure, void* arg) {
  struct refork_evhttp_request* request = (struct refork_evhttp_request*)arg;
  struct refork_evhttp* server = request->server;
  struct evbuffer* body;
  if (request->req == NULL || request->answered) return;
  request->answered = 1;
  body = evbuffer_new();
  if (body == NULL || evhttp_request_get_response_code(request->req) != 0 ||
      server->failure(request, failure, body, server->failure_arg) != 0) {
    refork_evhttp_drop_(request);
  } else {
    evhttp_clear_headers(refork_evhttp_headers_(request));
    evhttp_add_header(refork_evhttp_headers_(request), "Content-Type", "text/plain");
    evhttp_add_header(refork_evhttp_headers_(request), "Connection", "close");
    evhttp_send_reply(request->req, 500, NULL, body);
  }
  if (body != NULL) evbuffer_free(body);
}

static inline int refork_evhttp_plain_failure_(struct refork_evhttp_request* request,
                                               const refork_failure* failure, struct evbuffer* body,
                                               void* arg) {
  (void)request;
  (void)failure;
  (void)arg;
  return evbuffer_add_printf(body, "Internal Server Error\n") < 0;
}

/* Method and path, without the query. */
static inline void refork_evhttp_plain_label_(struct evhttp_request* request, char* label, size_t size,
                                              void* arg) {
  const char* uri = evhttp_request_get_uri(request);
  const char* method = "REQUEST";
  (void)arg;
  switch (evhttp_request_get_command(request)) {
    case EVHTTP_REQ_GET:
      method = "GET";
      break;
    case EVHTTP_REQ_POST:
      method = "POST";
      break;
    case EVHTTP_REQ_HEAD:
      method = "HEAD";
      break;
    case EVHTTP_REQ_PUT:
      method = "PUT";
      break;
    case EVHTTP_REQ_DELETE:
      method = "DELETE";
      break;
    case EVHTTP_REQ_OPTIONS:
      method = "OPTIONS";
      break;
    case EVHTTP_REQ_TRACE:
      method = "TRACE";
      break;
    case EVHTTP_REQ_CONNECT:
      method = "CONNECT";
      break;
    case EVHTTP_REQ_PATCH:
      method = "PATCH";
      break;
  }
  evutil_snprintf(label, size, "%s %.*s", method, (int)strcspn(uri, "?"), uri);
}

struct refork_evhttp_serve_ {
  const struct refork_evhttp_route_* route;
  struct refork_evhttp_request* request;
};

static inline void refork_evhttp_serve_run_(void* arg) {
  const struct refork_evhttp_serve_* serve = (const struct refork_evhttp_serve_*)arg;
  serve->route->function(serve->request, serve->route->arg);
}

/* ---- connections ---- */

static inline void refork_evhttp_forget_(struct refork_evhttp_connection_* connection) {
  struct refork_evhttp* server = connection->server;
  if (server->reading == connection) server->reading = NULL;
  *connection->place = connection->next;
  if (connection->next != NULL) connection->next->place = connection->place;
  event_free(connection->timer);
  refork_hold_release(&connection->hold);
  free(connection);
}

/* Everything of the input that has come so far is not looked at any more. Whether there was any. */
static inline int refork_evhttp_discard_(struct refork_evhttp_connection_* connection) {
  struct evbuffer* input = bufferevent_get_input(connection->bev);
  const size_t length = evbuffer_get_length(input);
  evbuffer_drain(input, length);
  return length > 0;
}

static inline void refork_evhttp_linger_read_(struct bufferevent* bev, void* arg) {
  struct refork_evhttp_connection_* connection = (struct refork_evhttp_connection_*)arg;
  (void)bev;
  if (!refork_evhttp_discard_(connection) || connection->state != REFORK_EVHTTP_LEAVING_) return;
  connection->state = REFORK_EVHTTP_LINGERING_;
  refork_worker_crossed(connection->server->worker);
}

static inline void refork_evhttp_linger_event_(struct bufferevent* bev, short what, void* arg) {
  (void)bev;
  (void)what;
  evhttp_connection_free(((struct refork_evhttp_connection_*)arg)->evcon);
}

/* Says goodbye and goes on reading, so that the client gets what was sent; evhttp hears of the connection no
 * more. */
static inline void refork_evhttp_shut_(struct refork_evhttp_connection_* connection,
                                       enum refork_evhttp_state_ how) {
  connection->state = how;
  bufferevent_setcb(connection->bev, refork_evhttp_linger_read_, NULL, refork_evhttp_linger_event_,
                    connection);
  bufferevent_set_timeouts(connection->bev, NULL, NULL);
  bufferevent_enable(connection->bev, EV_READ);
  shutdown(bufferevent_getfd(connection->bev), SHUT_WR);
  refork_evhttp_start_timer_(connection->timer, REFORK_EVHTTP_LINGER_MS);
}

/* Idle for the whole lame duck: it goes, unless a request is on its way in. */
static inline void refork_evhttp_leave_(struct refork_evhttp_connection_* connection) {
  char byte;
  const ssize_t got = recv(bufferevent_getfd(connection->bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got > 0) return; /* evhttp is about to read it */
  if (got == 0 || errno != EAGAIN)
    evhttp_connection_free(connection->evcon);
  else
    refork_evhttp_shut_(connection, REFORK_EVHTTP_LEAVING_);
}

static inline void refork_evhttp_closed_(struct evhttp_connection* evcon, void* arg) {
  struct refork_evhttp_connection_* connection = (struct refork_evhttp_connection_*)arg;
  struct refork_evhttp_request* request = connection->request;
  if (request != NULL) {
    /* A request that nobody has answered is ours to free, if evhttp has let go of it. */
    if (evhttp_request_get_connection(request->req) != evcon) evhttp_request_free(request->req);
    refork_evhttp_finish_(request);
  }
  refork_evhttp_forget_(connection);
}

/* Called soon after the accept: by now evhttp has its own object for the connection, or has failed to make
 * one. */
static inline void refork_evhttp_adopt_(struct refork_evhttp_connection_* connection) {
  const int on = 1;
  bufferevent_data_cb read = NULL, write = NULL;
  bufferevent_event_cb event = NULL;
  void* evcon = NULL;
  bufferevent_getcb(connection->bev, &read, &write, &event, &evcon);
  bufferevent_decref(connection->bev);
  if (evcon == NULL) {
    refork_evhttp_forget_(connection);
    return;
  }
  connection->evcon = (struct evhttp_connection*)evcon;
  connection->state = REFORK_EVHTTP_OPEN_;
  evhttp_connection_set_closecb(connection->evcon, refork_evhttp_closed_, connection);
  setsockopt(bufferevent_getfd(connection->bev), IPPROTO_TCP, TCP_NODELAY, &on,
             sizeof on); /* not on unix sockets */
  if (connection->server->draining)
    refork_evhttp_start_timer_(connection->timer, connection->server->lame_duck_ms);
}

static inline void refork_evhttp_timer_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp_connection_* connection = (struct refork_evhttp_connection_*)arg;
  (void)fd;
  (void)what;
  switch (connection->state) {
    case REFORK_EVHTTP_FRESH_:
      refork_evhttp_adopt_(connection);
      break;
    case REFORK_EVHTTP_OPEN_:
      if (connection->request == NULL && !connection->begun) refork_evhttp_leave_(connection);
      break;
    case REFORK_EVHTTP_ANSWERED_:
      refork_evhttp_shut_(connection, REFORK_EVHTTP_LINGERING_);
      break;
    case REFORK_EVHTTP_LINGERING_:
    case REFORK_EVHTTP_LEAVING_:
      evhttp_connection_free(connection->evcon);
      break;
  }
}

static inline void refork_evhttp_input_(struct evbuffer* input, const struct evbuffer_cb_info* info,
                                        void* arg) {
  struct refork_evhttp_connection_* connection = (struct refork_evhttp_connection_*)arg;
  (void)input;
  connection->server->reading = connection;
  if (info->n_added > 0) connection->begun = 1;
}

/* evhttp asks for the bufferevent of a connection that it has just accepted. */
static inline struct bufferevent* refork_evhttp_accepted_(struct event_base* base, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  struct bufferevent* bev = bufferevent_socket_new(base, -1, 0);
  struct refork_evhttp_connection_* made;
  if (bev == NULL) return NULL;
  made = (struct refork_evhttp_connection_*)calloc(1, sizeof *made);
  if (made == NULL) return bev; /* served, but unknown to the drain */
  made->timer = evtimer_new(base, refork_evhttp_timer_, made);
  if (made->timer == NULL) {
    free(made);
    return bev;
  }
  made->server = server;
  made->bev = bev;
  bufferevent_incref(bev); /* until it is adopted */
  evbuffer_add_cb(bufferevent_get_input(bev), refork_evhttp_input_, made);
  made->next = server->connections;
  made->place = &server->connections;
  if (made->next != NULL) made->next->place = &made->next;
  server->connections = made;
  refork_hold_take(server->worker, &made->hold);
  event_active(made->timer, EV_TIMEOUT, 1);
  return bev;
}

static inline struct refork_evhttp_connection_* refork_evhttp_connection_of_(struct refork_evhttp* server,
                                                                             struct evhttp_request* req) {
  struct bufferevent* bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
  struct refork_evhttp_connection_* found = server->reading;
  if (found != NULL && found->bev == bev) return found;
  for (found = server->connections; found != NULL && found->bev != bev;) found = found->next;
  return found;
}

static inline int refork_evhttp_says_close_(const struct evkeyvalq* headers) {
  const char* value = evhttp_find_header(headers, "Connection");
  return value != NULL && evutil_ascii_strcasecmp(value, "close") == 0;
}

/* evhttp would close a connection right after its last answer, and unread input would then reset the answer
 * on its way. It is made to believe that the connection goes on; as soon as it has let go of it, it is closed
 * with care. */
static inline void refork_evhttp_close_later_(struct refork_evhttp_connection_* connection,
                                              struct evhttp_request* req) {
  evhttp_remove_header(evhttp_request_get_input_headers(req), "Connection");
  evhttp_remove_header(evhttp_request_get_output_headers(req), "Connection");
  refork_evhttp_discard_(connection);
  bufferevent_disable(connection->bev, EV_READ); /* what is read already must not be taken for a request */
  connection->state = REFORK_EVHTTP_ANSWERED_;
  event_active(connection->timer, EV_TIMEOUT, 1);
}

/* The answer has been written, and evhttp is about to close the connection or to wait for the next request on
 * it. */
static inline void refork_evhttp_answered_(struct evhttp_request* req, void* arg) {
  struct refork_evhttp_request* request = (struct refork_evhttp_request*)arg;
  struct refork_evhttp_connection_* connection = request->connection;
  connection->begun = evbuffer_get_length(bufferevent_get_input(connection->bev)) > 0;
  if (refork_evhttp_says_close_(evhttp_request_get_input_headers(req)) ||
      refork_evhttp_says_close_(evhttp_request_get_output_headers(req)))
    refork_evhttp_close_later_(connection, req);
  else if (connection->server->draining)
    refork_evhttp_start_timer_(connection->timer, connection->server->lame_duck_ms);
  refork_evhttp_finish_(request);
}

static inline void refork_evhttp_handle_(struct evhttp_request* req, void* arg) {
  const struct refork_evhttp_route_* route = (const struct refork_evhttp_route_*)arg;
  struct refork_evhttp* server = route->server;
  struct refork_evhttp_connection_* connection = refork_evhttp_connection_of_(server, req);
  struct refork_evhttp_request* request = (struct refork_evhttp_request*)calloc(1, sizeof *request);
  refork_domain* domain = refork_domain_new("http");
  struct refork_evhttp_serve_ serve;
  char label[256];
  if (connection == NULL || request == NULL || domain == NULL ||
      refork_domain_on_error(domain, refork_evhttp_failed_, request, free, REFORK_THEN_DRAIN) != 0) {
    refork_domain_unref(domain);
    free(request);
    evhttp_send_error(req, 503, NULL);
    return;
  }
  request->server = server;
  request->connection = connection;
  request->req = req;
  request->domain = domain;
  connection->request = request;
  label[0] = '\0';
  server->label(req, label, sizeof label, server->label_arg);
  refork_request_begin(server->worker, label, domain, &request->in_flight);
  evhttp_request_set_on_complete_cb(req, refork_evhttp_answered_, request);
  serve.route = route;
  serve.request = request;
  refork_domain_ref(domain); /* the request may be over at once */
  refork_call_in(domain, NULL, refork_evhttp_serve_run_, &serve);
  refork_domain_unref(domain);
}

/* ---- what the worker says ---- */

/* One a process, as the worker is; known to those callbacks that libevent gives no argument of ours. */
static struct refork_evhttp* refork_evhttp_the_server_;

static inline void refork_evhttp_accept_again_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp_listener_* listener = (struct refork_evhttp_listener_*)arg;
  (void)fd;
  (void)what;
  if (listener->socket != NULL &&
      __atomic_load_n(&listener->server->told, __ATOMIC_ACQUIRE) != REFORK_EVHTTP_PAUSE_)
    evconnlistener_enable(evhttp_bound_socket_get_listener(listener->socket));
}

/* No descriptors or memory are left: without a rest the loop would spin. */
static inline void refork_evhttp_exhausted_(struct evconnlistener* of, void* arg) {
  struct refork_evhttp_listener_* listener = refork_evhttp_the_server_->listeners;
  (void)arg;
  while (listener != NULL &&
         (listener->socket == NULL || evhttp_bound_socket_get_listener(listener->socket) != of))
    listener = listener->next;
  if (listener == NULL) return;
  evconnlistener_disable(of);
  refork_evhttp_start_timer_(listener->again, REFORK_EVHTTP_ACCEPT_AGAIN_MS);
}

static inline void refork_evhttp_pause_(struct refork_evhttp* server, int paused) {
  struct refork_evhttp_listener_* listener;
  for (listener = server->listeners; listener != NULL; listener = listener->next) {
    if (listener->socket == NULL) continue;
    if (paused)
      evconnlistener_disable(evhttp_bound_socket_get_listener(listener->socket));
    else
      evconnlistener_enable(evhttp_bound_socket_get_listener(listener->socket));
  }
}

/* The queue of a socket that nobody else holds dies with it: who is in it is still served. */
static inline void refork_evhttp_close_listeners_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  struct refork_evhttp_listener_* listener;
  int left = 0;
  (void)fd;
  (void)what;
  for (listener = server->listeners; listener != NULL; listener = listener->next) {
    struct pollfd queue;
    if (listener->socket == NULL) continue;
    queue.fd = evhttp_bound_socket_get_fd(listener->socket);
    queue.events = POLLIN;
    queue.revents = 0;
    if (listener->own && poll(&queue, 1, 0) > 0 && (queue.revents & POLLIN)) {
      evconnlistener_enable(evhttp_bound_socket_get_listener(listener->socket));
      left = 1;
    } else {
      evhttp_del_accept_socket(server->http, listener->socket);
      listener->socket = NULL;
    }
  }
  if (left)
    refork_evhttp_start_timer_(server->closing, 1);
  else
    refork_hold_release(&server->closing_hold);
}

static inline void refork_evhttp_begin_drain_(struct refork_evhttp* server) {
  struct refork_evhttp_connection_* connection;
  server->draining = 1;
  for (connection = server->connections; connection != NULL; connection = connection->next)
    if (connection->state == REFORK_EVHTTP_OPEN_)
      refork_evhttp_start_timer_(connection->timer, server->lame_duck_ms);
  event_active(server->closing, EV_TIMEOUT, 1);
}

static inline void refork_evhttp_obey_(struct refork_evhttp* server) {
  const int told = __atomic_load_n(&server->told, __ATOMIC_ACQUIRE);
  if (told < REFORK_EVHTTP_DRAIN_)
    refork_evhttp_pause_(server, told == REFORK_EVHTTP_PAUSE_);
  else if (!server->draining)
    refork_evhttp_begin_drain_(server);
  if (told == REFORK_EVHTTP_DRAINED_) event_base_loopexit(server->base, NULL);
}

static inline void refork_evhttp_wake_(evutil_socket_t fd, short what, void* arg) {
  uint64_t count;
  (void)what;
  if (read(fd, &count, sizeof count) > 0) refork_evhttp_obey_((struct refork_evhttp*)arg);
}

/* At once on the loop's own thread, so that not one more connection is accepted after a pause. */
static inline void refork_evhttp_tell_(struct refork_evhttp* server, enum refork_evhttp_told_ what) {
  const uint64_t one = 1;
  __atomic_store_n(&server->told, (int)what, __ATOMIC_RELEASE);
  if (pthread_equal(pthread_self(), server->thread))
    refork_evhttp_obey_(server);
  else if (write(server->wake_fd, &one, sizeof one) < 0)
    return; /* its counter is full: the loop is awake */
}

static inline void refork_evhttp_on_pause_(void* arg) {
  refork_evhttp_tell_((struct refork_evhttp*)arg, REFORK_EVHTTP_PAUSE_);
}
static inline void refork_evhttp_on_resume_(void* arg) {
  refork_evhttp_tell_((struct refork_evhttp*)arg, REFORK_EVHTTP_ACCEPT_);
}
static inline void refork_evhttp_on_drain_(const refork_drain* drain, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  server->lame_duck_ms = drain->lame_duck_ms;
  refork_hold_take(server->worker, &server->closing_hold); /* until accepting has ended */
  refork_evhttp_tell_(server, REFORK_EVHTTP_DRAIN_);
}
static inline void refork_evhttp_on_drained_(void* arg) {
  refork_evhttp_tell_((struct refork_evhttp*)arg, REFORK_EVHTTP_DRAINED_);
}

static inline void refork_evhttp_control_(evutil_socket_t fd, short what, void* arg) {
  (void)fd;
  (void)what;
  refork_worker_process(((struct refork_evhttp*)arg)->worker);
}

/* Tells the watchdog that the loop runs, as often as it wants to know. */
static inline void refork_evhttp_beat_(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp* server = (struct refork_evhttp*)arg;
  const uint32_t every = refork_worker_beat_every(server->worker);
  (void)fd;
  (void)what;
  refork_worker_beat(server->worker);
  if (every > 0) refork_evhttp_start_timer_(server->beating, every);
}

/* ---- the server ---- */

/* Frees the server, the evhttp, and what connections are left. NULL is allowed. */
static inline void refork_evhttp_free(struct refork_evhttp* server) {
  if (server == NULL) return;
  refork_worker_on_pause(server->worker, NULL, NULL);
  refork_worker_on_resume(server->worker, NULL, NULL);
  refork_worker_on_drain(server->worker, NULL, NULL);
  refork_worker_on_drained(server->worker, NULL, NULL);
  evhttp_free(server->http);
  while (server->connections != NULL) { /* those that evhttp had not told of */
    bufferevent_decref(server->connections->bev);
    refork_evhttp_forget_(server->connections);
  }
  while (server->listeners != NULL) {
    struct refork_evhttp_listener_* listener = server->listeners;
    server->listeners = listener->next;
    event_free(listener->again);
    free(listener);
  }
  while (server->routes != NULL) {
    struct refork_evhttp_route_* route = server->routes;
    server->routes = route->next;
    free(route);
  }
  if (server->control != NULL) event_free(server->control);
  if (server->closing != NULL) event_free(server->closing);
  if (server->beating != NULL) event_free(server->beating);
  if (server->wake != NULL) event_free(server->wake);
  if (server->wake_fd >= 0) close(server->wake_fd);
  refork_hold_release(&server->closing_hold);
  free(server);
}

/* A server that takes the evhttp, made on the thread that runs the loop; one a process. NULL without memory
 * or descriptors; then the evhttp is freed, too. */
static inline struct refork_evhttp* refork_evhttp_new(struct event_base* base, struct evhttp* http,
                                                      refork_worker* worker) {
  struct refork_evhttp* made = (struct refork_evhttp*)calloc(1, sizeof *made);
  void (*before)(int) = signal(SIGPIPE, SIG_IGN);
  if (before != SIG_DFL && before != SIG_ERR) signal(SIGPIPE, before);
  if (made == NULL || http == NULL) {
    if (http != NULL) evhttp_free(http);
    free(made);
    return NULL;
  }
  made->base = base;
  made->http = http;
  made->worker = worker;
  made->thread = pthread_self();
  made->label = refork_evhttp_plain_label_;
  made->failure = refork_evhttp_plain_failure_;
  made->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  made->wake = event_new(base, made->wake_fd, EV_READ | EV_PERSIST, refork_evhttp_wake_, made);
  made->closing = evtimer_new(base, refork_evhttp_close_listeners_, made);
  made->beating = evtimer_new(base, refork_evhttp_beat_, made);
  if (refork_worker_fd(worker) >= 0)
    made->control =
        event_new(base, refork_worker_fd(worker), EV_READ | EV_PERSIST, refork_evhttp_control_, made);
  if (made->wake_fd < 0 || made->wake == NULL || made->closing == NULL || made->beating == NULL ||
      event_add(made->wake, NULL) != 0 ||
      (refork_worker_fd(worker) >= 0 && (made->control == NULL || event_add(made->control, NULL) != 0)) ||
      refork_worker_on_pause(worker, refork_evhttp_on_pause_, made) != 0 ||
      refork_worker_on_resume(worker, refork_evhttp_on_resume_, made) != 0 ||
      refork_worker_on_drain(worker, refork_evhttp_on_drain_, made) != 0 ||
      refork_worker_on_drained(worker, refork_evhttp_on_drained_, made) != 0) {
    refork_evhttp_free(made);
    return NULL;
  }
  evhttp_set_bevcb(http, refork_evhttp_accepted_, made);
  refork_evhttp_beat_(-1, 0, made);
  return made;
}

/* Serves what arrives on this socket, which it takes: one of the worker's, or the program's own. 0, or a
 * negative errno, with the socket still the caller's: -ESHUTDOWN once the worker drains. */
static inline int refork_evhttp_listen(struct refork_evhttp* server, evutil_socket_t fd) {
  struct refork_evhttp_listener_* made = (struct refork_evhttp_listener_*)calloc(1, sizeof *made);
  refork_listener passed = REFORK_LISTENER_INIT;
  size_t i;
  if (made == NULL) return -ENOMEM;
  if (server->draining) {
    free(made);
    return -ESHUTDOWN;
  }
  made->server = server;
  made->own = 1;
  for (i = 0; refork_worker_listener(server->worker, i, &passed) == 0; ++i)
    if (passed.fd == fd) made->own = 0;
  evutil_make_socket_nonblocking(fd);
  made->again = evtimer_new(server->base, refork_evhttp_accept_again_, made);
  if (made->again != NULL) made->socket = evhttp_accept_socket_with_handle(server->http, fd);
  if (made->socket == NULL) {
    if (made->again != NULL) event_free(made->again);
    free(made);
    return -ENOMEM;
  }
  refork_evhttp_the_server_ = server;
  evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(made->socket), refork_evhttp_exhausted_);
  made->next = server->listeners;
  server->listeners = made;
  refork_evhttp_obey_(server);
  return 0;
}

/* Serves what arrives on each socket that was passed on to the worker. Returns how many, or a negative errno.
 */
static inline int refork_evhttp_listen_all(struct refork_evhttp* server) {
  refork_listener passed = REFORK_LISTENER_INIT;
  int count = 0;
  while (refork_worker_listener(server->worker, (size_t)count, &passed) == 0) {
    const int failed = refork_evhttp_listen(server, passed.fd);
    if (failed != 0) return failed;
    ++count;
  }
  return count;
}

/* evhttp_set_cb() for path, evhttp_set_gencb() where it is NULL. 0; -EEXIST if the path has one; -ENOMEM. */
static inline int refork_evhttp_set_cb(struct refork_evhttp* server, const char* path,
                                       refork_evhttp_cb function, void* arg) {
  struct refork_evhttp_route_* made = (struct refork_evhttp_route_*)calloc(1, sizeof *made);
  int failed = 0;
  if (made == NULL) return -ENOMEM;
  made->server = server;
  made->function = function;
  made->arg = arg;
  if (path == NULL)
    evhttp_set_gencb(server->http, refork_evhttp_handle_, made);
  else
    failed = evhttp_set_cb(server->http, path, refork_evhttp_handle_, made);
  if (failed != 0) {
    free(made);
    return failed == -1 ? -EEXIST : -ENOMEM;
  }
  made->next = server->routes;
  server->routes = made;
  return 0;
}

/* For all requests that no other callback takes. */
static inline int refork_evhttp_set_gencb(struct refork_evhttp* server, refork_evhttp_cb function,
                                          void* arg) {
  return refork_evhttp_set_cb(server, NULL, function, arg);
}

/* What a request is called in records; by default method and path, without the query. */
static inline void refork_evhttp_set_label(struct refork_evhttp* server, refork_evhttp_label_cb label,
                                           void* arg) {
  server->label = label;
  server->label_arg = arg;
}

/* Who writes the answer to a failed request; by default it says "Internal Server Error". */
static inline void refork_evhttp_on_failure(struct refork_evhttp* server, refork_evhttp_failure_cb failure,
                                            void* arg) {
  server->failure = failure;
  server->failure_arg = arg;
}

#ifdef __cplusplus
}
#endif
