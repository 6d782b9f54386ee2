/* An HTTP server in C on libevent's evhttp, one event loop, as a worker of reforkd. What links it: the lines
 * in main(), refork_evhttp_reply() in place of evhttp_send_reply(), refork_event_base_once() in place of
 * event_base_once(), and a refork_report() where a request fails. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common_c.h"
#include "refork/evhttp.h"
#include "refork/libevent.h"

static struct event_base* loop;

static void serve(struct refork_evhttp_request* request, void* arg);
static void label(struct evhttp_request* request, char* label, size_t size, void* options);
static int answer_failure(struct refork_evhttp_request* request, const refork_failure* failure,
                          struct evbuffer* body, void* arg);
static void listen_somewhere(struct refork_evhttp* server, refork_worker* worker, int port);

int main(int argc, char** argv) {
  struct example_options options = example_parse_options(argc, argv);
  refork_worker_options worker_options = REFORK_WORKER_OPTIONS_INIT;
  struct refork_evhttp* server;
  refork_worker* worker;
  int exit_code;

  worker_options.show_query = options.show_query;
  if (refork_worker_open(&worker, &worker_options) != 0) {
    fprintf(stderr, "%s\n", refork_error_message());
    return 1;
  }
  loop = event_base_new();
  server = refork_evhttp_new(loop, evhttp_new(loop), worker);
  if (server == NULL) return 1;
  refork_evhttp_set_gencb(server, serve, NULL);
  refork_evhttp_set_label(server, label, &options);
  refork_evhttp_on_failure(server, answer_failure, NULL);
  listen_somewhere(server, worker, options.port);

  refork_worker_ready(worker);
  event_base_dispatch(loop); /* returns when the worker has drained */
  exit_code = refork_worker_finish(worker);
  refork_evhttp_free(server);
  event_base_free(loop);
  refork_worker_close(worker);
  return exit_code;
}

/* ---- answers ---- */

static void answer(struct refork_evhttp_request* request, int code, const char* text) {
  struct evbuffer* body = evbuffer_new();
  struct evhttp_request* http = refork_evhttp_request_get(request);
  if (http != NULL) evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Type", "text/plain");
  evbuffer_add_printf(body, "%s", text);
  refork_evhttp_reply(request, code, NULL, body);
  evbuffer_free(body);
}

static int is(struct refork_evhttp_request* request, const char* path) {
  const struct evhttp_uri* uri = evhttp_request_get_evhttp_uri(refork_evhttp_request_get(request));
  return strcmp(evhttp_uri_get_path(uri), path) == 0;
}

static int answer_failure(struct refork_evhttp_request* request, const refork_failure* failure,
                          struct evbuffer* body, void* arg) {
  (void)arg;
  if (strcmp(refork_failure_type(failure), "doomed") == 0) {
    refork_error error = REFORK_ERROR_INIT;
    error.type = "handler";
    error.message = "the error handler was asked to fail";
    refork_report(refork_evhttp_request_domain(request), &error);
    return -1;
  }
  return evbuffer_add_printf(body, "something went wrong here\n") < 0;
}

static void report(const char* type, const char* message) {
  refork_domain* domain = refork_domain_current();
  refork_error error = REFORK_ERROR_INIT;
  error.type = type;
  error.message = message;
  refork_report(domain, &error);
  refork_domain_unref(domain);
}

/* ---- routes ---- */

/* In C nothing is thrown: who finds that the request has failed reports it, and returns. */
static void fail(evutil_socket_t fd, short what, void* arg) {
  (void)fd;
  (void)what;
  (void)arg;
  report("request", "this request was asked to fail");
}

static void fail_twice(evutil_socket_t fd, short what, void* arg) {
  (void)fd;
  (void)what;
  (void)arg;
  report("doomed", "this request was asked to fail twice");
}

static void fail_with_code(evutil_socket_t fd, short what, void* arg) {
  refork_domain* domain = refork_domain_current();
  (void)fd;
  (void)what;
  (void)arg;
  refork_report_errno(domain, ECONNREFUSED, "backend");
  refork_domain_unref(domain);
}

static void fail_late(evutil_socket_t fd, short what, void* arg) {
  (void)fd;
  (void)what;
  (void)arg;
  report("request", "asked to fail after the answer had begun");
}

/* Bound to the request's domain, which is active here. */
static void later(long ms, event_callback_fn function, struct refork_evhttp_request* request) {
  struct timeval after;
  after.tv_sec = ms / 1000;
  after.tv_usec = ms % 1000 * 1000;
  if (refork_event_base_once(loop, -1, EV_TIMEOUT, function, request, &after) != 0)
    report("memory", "no timer could be set");
}

static void begin_answer(struct refork_evhttp_request* request) {
  struct evbuffer* part = evbuffer_new();
  refork_evhttp_reply_start(request, HTTP_OK, NULL);
  evbuffer_add_printf(part, "the first part");
  refork_evhttp_reply_chunk(request, part);
  evbuffer_free(part);
}

static void route(evutil_socket_t fd, short what, void* arg) {
  struct refork_evhttp_request* request = (struct refork_evhttp_request*)arg;
  char pid[32];
  (void)fd;
  (void)what;
  if (refork_evhttp_request_get(request) == NULL) return; /* the client has gone meanwhile */
  snprintf(pid, sizeof pid, "%ld", (long)getpid());
  if (is(request, "/")) {
    answer(request, HTTP_OK, "ok");
  } else if (is(request, "/pid")) {
    answer(request, HTTP_OK, pid);
  } else if (is(request, "/error")) {
    later(0, fail, request);
  } else if (is(request, "/error-code")) {
    later(0, fail_with_code, request);
  } else if (is(request, "/error-handler")) {
    later(0, fail_twice, request);
  } else if (is(request, "/error-late")) {
    begin_answer(request);
    later(1, fail_late, request);
  } else if (is(request, "/crash")) {
    example_crash();
  } else if (is(request, "/abort")) {
    example_abort();
  } else if (is(request, "/hang")) {
    example_hang();
  } else {
    answer(request, HTTP_NOTFOUND, "there is nothing here\n");
  }
}

static void serve(struct refork_evhttp_request* request, void* arg) {
  const long delay = example_delay_ms(evhttp_request_get_uri(refork_evhttp_request_get(request)));
  (void)arg;
  if (delay > 0)
    later(delay, route, request);
  else
    route(-1, 0, request);
}

static void label(struct evhttp_request* request, char* text, size_t size, void* options) {
  const char* target = evhttp_request_get_uri(request);
  const int query = ((const struct example_options*)options)->show_query;
  const char* method = evhttp_request_get_command(request) == EVHTTP_REQ_GET ? "GET" : "REQUEST";
  snprintf(text, size, "%s %.*s", method, (int)(query ? strlen(target) : strcspn(target, "?")), target);
}

/* On the sockets that were passed on, or on one of our own. */
static void listen_somewhere(struct refork_evhttp* server, refork_worker* worker, int port) {
  refork_listener passed = REFORK_LISTENER_INIT;
  char address[64];
  size_t i;
  if (port < 0 && refork_worker_listeners(worker) > 0) {
    refork_evhttp_listen_all(server);
    for (i = 0; refork_worker_listener(worker, i, &passed) == 0; ++i) example_say_listening(passed.address);
  } else {
    refork_evhttp_listen(server, example_listen(port < 0 ? 8080 : port, address, sizeof address));
    example_say_listening(address);
  }
}
