#pragma once

/* A connection of an evhttp server, from its accept to its end: evhttp serves it, each request on it gets a
 * domain, and it is closed so that neither an answer nor a request on its way is lost. Included by
 * refork/evhttp.h. */

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "refork/evhttp/requests.h"
#include "refork/evhttp/state.h"
#include "refork/refork.h"

#ifdef __cplusplus
extern "C" {
#endif

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

#ifdef __cplusplus
}
#endif
