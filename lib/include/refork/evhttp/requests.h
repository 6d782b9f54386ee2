#pragma once

/* A request of an evhttp server: how it is answered, in parts or at once, and what its client gets when it
 * fails. Included by refork/evhttp.h. */

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/util.h>
#include <string.h>
#include <sys/socket.h>

#include "refork/evhttp/state.h"
#include "refork/refork.h"

#ifdef __cplusplus
extern "C" {
#endif

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

#ifdef __cplusplus
}
#endif
