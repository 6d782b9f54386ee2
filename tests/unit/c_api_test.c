/* The C API from C: every function of refork.h is called here, which another test checks. Ends with 0 if all
 * that it expects is so. Run by ctest without reforkd; what depends on reforkd is tested on the C++ classes
 * beneath. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "refork/refork.h"
#include "unit/c_api_throws.h"

static int failed;

static void expect(int so, const char* what, int line) {
  if (so) return;
  fprintf(stderr, "%s:%d: %s\n", __FILE__, line, what);
  failed = 1;
}
#define EXPECT(so) expect((so) != 0, #so, __LINE__)
#define EXPECT_TEXT(a, b) expect(strcmp((a), (b)) == 0, #a " is " #b, __LINE__)

/* What a handler saw. */
struct seen {
  int calls;
  int freed;
  refork_kind kind;
  int thrown;
  char type[64], message[128], domain[32], bound[32], emitter[32], id[64], outer[32], context[32], cause[64];
  size_t depth;
  const void* top;
  char original[64];
};

static void copy(char* to, size_t size, const char* from) {
  snprintf(to, size, "%s", from == NULL ? "" : from);
}

static void see(const refork_failure* failure, void* arg) {
  struct seen* seen = (struct seen*)arg;
  const refork_failure* original = refork_failure_original(failure);
  const char* cause = NULL;
  ++seen->calls;
  seen->kind = refork_failure_kind(failure);
  seen->thrown = refork_failure_thrown(failure);
  copy(seen->type, sizeof seen->type, refork_failure_type(failure));
  copy(seen->message, sizeof seen->message, refork_failure_message(failure));
  copy(seen->domain, sizeof seen->domain, refork_failure_domain(failure));
  copy(seen->bound, sizeof seen->bound, refork_failure_bound(failure));
  copy(seen->emitter, sizeof seen->emitter, refork_failure_emitter(failure));
  copy(seen->id, sizeof seen->id, refork_failure_id(failure));
  copy(seen->outer, sizeof seen->outer, refork_failure_active_domain(failure, 1));
  copy(seen->context, sizeof seen->context, refork_failure_context(failure, "user"));
  if (refork_failure_cause(failure, 0, NULL, &cause) == 0) copy(seen->cause, sizeof seen->cause, cause);
  seen->depth = refork_failure_depth(failure);
  seen->top = refork_failure_address(failure, 0);
  EXPECT(refork_failure_address(failure, seen->depth) == NULL);
  EXPECT(refork_failure_cause(failure, 100, NULL, NULL) == -ENOENT);
  EXPECT(refork_failure_context(failure, "not there") == NULL);
  EXPECT(refork_failure_active_domain(failure, 100) == NULL);
  if (original != NULL) copy(seen->original, sizeof seen->original, refork_failure_message(original));
}

static void count_freed(void* arg) { ++((struct seen*)arg)->freed; }

static refork_error error_of(const char* type, int code, const char* message) {
  refork_error error = REFORK_ERROR_INIT;
  error.type = type;
  error.code = code;
  error.message = message;
  return error;
}

static refork_domain* seeing(const char* name, struct seen* seen) {
  refork_domain* domain = refork_domain_new(name);
  memset(seen, 0, sizeof *seen);
  EXPECT(refork_domain_on_error(domain, see, seen, count_freed, REFORK_THEN_SERVE) == 0);
  return domain;
}

static int is_current(const refork_domain* domain) {
  refork_domain* current = refork_domain_current();
  refork_domain_unref(current);
  return current == domain;
}

/* ---- domains ---- */

static void a_domain_is_counted_and_named(void) {
  struct seen seen;
  refork_domain* domain = seeing("request", &seen);
  EXPECT_TEXT(refork_domain_name(domain), "request");
  EXPECT(refork_domain_ref(domain) == domain);
  refork_domain_unref(domain);
  EXPECT(seen.freed == 0);
  refork_domain_unref(domain);
  EXPECT(seen.freed == 1);
  refork_domain_unref(NULL);
  EXPECT(refork_domain_ref(NULL) == NULL);
}

static void scopes_nest(void) {
  refork_domain* outer = refork_domain_new("outer");
  refork_domain* inner = refork_domain_new(NULL);
  refork_scope first, second, third;
  EXPECT(is_current(NULL));
  refork_domain_enter(outer, &first);
  refork_domain_enter(inner, &second);
  EXPECT(is_current(inner));
  refork_domain_enter(NULL, &third);
  EXPECT(is_current(NULL));
  refork_domain_exit(&third);
  refork_domain_exit(&second);
  EXPECT(is_current(outer));
  refork_domain_exit(&first);
  EXPECT(is_current(NULL));
  refork_domain_unref(inner);
  refork_domain_unref(outer);
}

static void note_current(void* arg) { *(refork_domain**)arg = refork_domain_current(); }

static void run_calls_inside(void) {
  refork_domain *domain = refork_domain_new("d"), *seen = NULL;
  EXPECT(refork_domain_run(domain, note_current, &seen) == 0);
  EXPECT(seen == domain);
  refork_domain_unref(seen);
  refork_domain_unref(domain);
}

static void what_cpp_throws_is_captured(void) {
  struct seen seen;
  refork_domain* domain = seeing("d", &seen);
  EXPECT(refork_domain_run(domain, throw_runtime_error, NULL) == -ECANCELED);
  EXPECT(seen.calls == 1);
  EXPECT(seen.kind == REFORK_KIND_EXCEPTION);
  EXPECT(seen.thrown == 1);
  EXPECT(strstr(seen.type, "std::runtime_error") != NULL);
  EXPECT_TEXT(seen.message, "thrown by C++");
  EXPECT_TEXT(seen.cause, "the cause of it");
  EXPECT(seen.depth > 1);
  refork_domain_unref(domain);
}

/* Past the C function in between, which comes to its end. */
struct between {
  refork_domain* bare;
  int result;
  int ended;
};
static void run_bare(void* arg) {
  struct between* between = (struct between*)arg;
  between->result = refork_domain_run(between->bare, throw_runtime_error, NULL);
  between->ended = 1;
}

static void without_a_handler_it_goes_outward_and_past_no_c_function(void) {
  struct seen seen;
  refork_domain* domain = seeing("outer", &seen);
  struct between between = {NULL, 0, 0};
  between.bare = refork_domain_new("bare");
  EXPECT(refork_domain_run(domain, run_bare, &between) == 0);
  EXPECT(between.ended == 1);
  EXPECT(between.result == -ECANCELED);
  EXPECT(seen.calls == 1);
  EXPECT_TEXT(seen.domain, "outer");
  refork_domain_unref(between.bare);
  refork_domain_unref(domain);
}

static void a_handler_can_be_replaced_joined_and_removed(void) {
  struct seen first, second, third;
  refork_domain* domain = seeing("d", &first);
  const refork_error error = error_of("t", 0, "m");
  memset(&second, 0, sizeof second);
  memset(&third, 0, sizeof third);
  EXPECT(refork_domain_on_error(domain, see, &second, count_freed, REFORK_THEN_DRAIN) == 0);
  EXPECT(first.freed == 1);
  EXPECT(refork_domain_also_on_error(domain, see, &third, count_freed, REFORK_THEN_SERVE) == 0);
  EXPECT(refork_report(domain, &error) == 0);
  EXPECT(first.calls == 0 && second.calls == 1 && third.calls == 1);
  EXPECT(refork_domain_on_error(domain, NULL, NULL, NULL, REFORK_THEN_DRAIN) == 0);
  EXPECT(second.freed == 1 && third.freed == 1);
  EXPECT(refork_report(domain, &error) == -ENOENT);
  EXPECT(strlen(refork_error_message()) > 0);
  EXPECT(refork_domain_on_error(NULL, see, &first, NULL, REFORK_THEN_DRAIN) == -EINVAL);
  EXPECT(refork_domain_on_error(domain, see, &first, count_freed, (refork_then)7) == -EINVAL);
  EXPECT(first.freed == 1);
  refork_domain_unref(domain);
}

/* ---- reports ---- */

static void a_report_says_what_where_and_in_which_context(void) {
  struct seen seen;
  refork_domain* outer = refork_domain_new("outer");
  refork_domain* domain = seeing("inner", &seen);
  refork_scope first, second;
  const refork_error error = error_of("backend", ECONNREFUSED, "cannot connect");
  EXPECT(refork_domain_set(domain, "user", "ann") == 0);
  refork_domain_enter(outer, &first);
  refork_domain_enter(domain, &second);
  EXPECT(refork_report(domain, &error) == 0);
  refork_domain_exit(&second);
  refork_domain_exit(&first);
  EXPECT(seen.calls == 1);
  EXPECT(seen.kind == REFORK_KIND_ERROR);
  EXPECT(seen.thrown == 0);
  EXPECT_TEXT(seen.type, "backend");
  EXPECT_TEXT(seen.message, "cannot connect: Connection refused (errno 111)");
  EXPECT_TEXT(seen.domain, "inner");
  EXPECT_TEXT(seen.outer, "outer");
  EXPECT_TEXT(seen.context, "ann");
  refork_domain_unref(domain);
  refork_domain_unref(outer);
}

static const void* here(void) { return __builtin_extract_return_addr(__builtin_return_address(0)); }

/* Their addresses surround that of the report. */
__attribute__((noinline)) static void report_here(refork_domain* domain, const void** before,
                                                  const void** after) {
  const refork_error error = error_of("t", 0, "m");
  *before = here();
  EXPECT(refork_report(domain, &error) == 0);
  *after = here();
}

__attribute__((noinline)) static void report_errno_here(refork_domain* domain, const void** before,
                                                        const void** after) {
  *before = here();
  EXPECT(refork_report_errno(domain, -ENOSPC, NULL) == 0);
  *after = here();
}

static void the_stack_of_a_report_begins_at_its_caller(void) {
  struct seen seen;
  const void *before = NULL, *after = NULL;
  refork_domain* domain = seeing("d", &seen);
  report_here(domain, &before, &after);
  EXPECT((const char*)seen.top > (const char*)before && (const char*)seen.top <= (const char*)after);
  report_errno_here(domain, &before, &after);
  EXPECT((const char*)seen.top > (const char*)before && (const char*)seen.top <= (const char*)after);
  EXPECT_TEXT(seen.type, "errno");
  EXPECT_TEXT(seen.message, "No space left on device (errno 28)");
  refork_domain_unref(domain);
}

static void an_error_of_an_older_program_has_fewer_fields(void) {
  struct seen seen;
  refork_domain* domain = seeing("d", &seen);
  refork_error error = error_of("t", ENOENT, "not read");
  error.size = offsetof(refork_error, code);
  EXPECT(refork_report(domain, &error) == 0);
  EXPECT_TEXT(seen.type, "t");
  EXPECT_TEXT(seen.message, "");
  refork_domain_unref(domain);
}

/* A handler fails by reporting to its own domain. */
static void fail_too(const refork_failure* failure, void* arg) {
  const refork_error error = error_of("second", 0, "the handler failed");
  (void)failure;
  EXPECT(refork_report((refork_domain*)arg, &error) == 0);
}

static void report_inside(void* arg) {
  const refork_error error = error_of("first", 0, "the request failed");
  EXPECT(refork_report((refork_domain*)arg, &error) == 0);
}

static void the_error_of_a_handler_goes_outward_with_the_first_as_its_cause(void) {
  struct seen seen;
  refork_domain* outer = seeing("outer", &seen);
  refork_domain* inner = refork_domain_new("inner");
  EXPECT(refork_domain_on_error(inner, fail_too, inner, NULL, REFORK_THEN_DRAIN) == 0);
  EXPECT(refork_domain_run(outer, report_inside, inner) == 0);
  EXPECT(seen.calls == 1);
  EXPECT(seen.kind == REFORK_KIND_HANDLER);
  EXPECT_TEXT(seen.type, "second");
  EXPECT_TEXT(seen.message, "the handler failed");
  EXPECT_TEXT(seen.cause, "the request failed");
  EXPECT_TEXT(seen.original, "the request failed");
  refork_domain_unref(inner);
  refork_domain_unref(outer);
}

static void what_finds_no_handler_goes_to_the_parent(void) {
  struct seen seen;
  refork_domain *parent = seeing("parent", &seen), *child = refork_domain_new("child"), *found;
  EXPECT(refork_domain_set_parent(child, parent) == 0);
  found = refork_domain_parent(child);
  EXPECT(found == parent);
  refork_domain_unref(found);
  EXPECT(refork_domain_set_parent(parent, child) == -EINVAL);
  EXPECT(refork_report_errno(child, EIO, NULL) == 0);
  EXPECT(seen.calls == 1);
  EXPECT(refork_domain_set_parent(child, NULL) == 0);
  EXPECT(refork_domain_parent(child) == NULL);
  EXPECT(refork_report_errno(child, EIO, NULL) == -ENOENT);
  refork_domain_unref(child);
  refork_domain_unref(parent);
}

static void an_observer_hears_of_all(void) {
  struct seen seen, observed;
  refork_domain* domain = seeing("d", &seen);
  memset(&observed, 0, sizeof observed);
  EXPECT(refork_observe_failures(see, &observed, count_freed) == 0);
  EXPECT(refork_report_errno(domain, EIO, NULL) == 0);
  EXPECT(observed.calls == 1 && seen.calls == 1);
  EXPECT(refork_observe_failures(NULL, NULL, NULL) == 0);
  EXPECT(observed.freed == 1);
  refork_domain_unref(domain);
}

static void context_is_set_replaced_and_cut(void) {
  refork_domain* domain = refork_domain_new("d");
  char value[4];
  EXPECT(refork_domain_get(domain, "k", value, sizeof value) == -ENOENT);
  EXPECT(refork_domain_set(domain, "k", "v") == 0);
  EXPECT(refork_domain_set(domain, "k", "value") == 0);
  EXPECT(refork_domain_get(domain, "k", value, sizeof value) == 5);
  EXPECT_TEXT(value, "val");
  EXPECT(refork_domain_get(domain, "k", NULL, 0) == 5);
  EXPECT(refork_domain_set(NULL, "k", "v") == -EINVAL);
  refork_domain_unref(domain);
}

/* ---- callbacks ---- */

static void free_itself(void* arg) { refork_callback_free(*(refork_callback**)arg); }

static void a_callback_runs_in_the_domain_that_bound_it(void) {
  struct seen seen;
  refork_domain *domain = seeing("d", &seen), *current = NULL;
  refork_callback *callback, *itself;
  refork_scope scope;
  refork_domain_enter(domain, &scope);
  callback = refork_bind(note_current, &current, NULL);
  refork_domain_exit(&scope);
  EXPECT(refork_call(callback) == 0);
  EXPECT(current == domain);
  refork_domain_unref(current);
  refork_callback_free(callback);

  callback = refork_domain_bind(domain, throw_runtime_error, NULL, "on_read");
  EXPECT(refork_call(callback) == -ECANCELED);
  EXPECT_TEXT(seen.bound, "on_read");
  refork_call_once(callback);
  EXPECT(seen.calls == 2);

  itself = refork_domain_bind(domain, free_itself, &itself, NULL);
  refork_domain_unref(domain);
  EXPECT(seen.freed == 0);
  EXPECT(refork_call(itself) == 0);
  EXPECT(seen.freed == 1);
}

static void a_callback_bound_outside_runs_outside(void) {
  refork_domain *domain = refork_domain_new("d"), *current = domain;
  refork_callback* callback = refork_bind(note_current, &current, NULL);
  refork_scope scope;
  refork_domain_enter(domain, &scope);
  EXPECT(refork_call(callback) == 0);
  refork_domain_exit(&scope);
  EXPECT(current == NULL);
  refork_callback_free(callback);
  refork_callback_free(NULL);
  refork_domain_unref(domain);
}

static void a_call_needs_no_object(void) {
  struct seen seen;
  refork_domain* domain = seeing("d", &seen);
  EXPECT(refork_call_in(domain, "tick", throw_runtime_error, NULL) == -ECANCELED);
  EXPECT_TEXT(seen.bound, "tick");
  EXPECT(refork_call_in(domain, NULL, throw_runtime_error, NULL) == -ECANCELED);
  EXPECT_TEXT(seen.bound, "");
  refork_domain_unref(domain);
}

/* ---- members ---- */

static void a_member_reports_to_its_domain_unless_it_has_a_listener(void) {
  struct seen seen, listened;
  refork_domain *domain = seeing("d", &seen), *found;
  refork_emitter* member = refork_emitter_new("upstream");
  refork_emitter* listed[2] = {NULL, NULL};
  const refork_error error = error_of("t", EPIPE, NULL);
  memset(&listened, 0, sizeof listened);
  EXPECT_TEXT(refork_emitter_name(member), "upstream");
  EXPECT(refork_emitter_domain(member) == NULL);
  EXPECT(refork_emitter_report(member, &error) == -ENOENT);
  EXPECT(refork_domain_add(domain, member) == 0);
  EXPECT(refork_domain_members(domain, listed, 2) == 1 && listed[0] == member);
  found = refork_emitter_domain(member);
  EXPECT(found == domain);
  refork_domain_unref(found);
  EXPECT(refork_emitter_report(member, &error) == 0);
  EXPECT_TEXT(seen.emitter, "upstream");
  found = NULL;
  EXPECT(refork_emitter_call(member, note_current, &found) == 0);
  EXPECT(found == domain);
  refork_domain_unref(found);

  EXPECT(refork_emitter_on_error(member, see, &listened, count_freed) == 0);
  EXPECT(refork_emitter_report(member, &error) == 0);
  EXPECT(listened.calls == 1 && seen.calls == 1);
  EXPECT(refork_emitter_on_error(member, NULL, NULL, NULL) == 0);
  EXPECT(listened.freed == 1);
  EXPECT(refork_domain_remove(domain, member) == 0);
  EXPECT(refork_domain_members(domain, NULL, 0) == 0);
  EXPECT(refork_domain_add(NULL, member) == -EINVAL);
  refork_emitter_free(member);
  refork_emitter_free(NULL);
  refork_domain_unref(domain);
}

/* ---- the worker; there is one a process ---- */

struct told {
  int paused, resumed, drained, drains;
  refork_drain drain;
};
static void on_pause(void* arg) { ++((struct told*)arg)->paused; }
static void on_resume(void* arg) { ++((struct told*)arg)->resumed; }
static void on_drained(void* arg) { ++((struct told*)arg)->drained; }
static void on_drain(const refork_drain* drain, void* arg) {
  ++((struct told*)arg)->drains;
  ((struct told*)arg)->drain = *drain;
}
static void on_message(const char* json, size_t length, void* arg) {
  (void)arg;
  expect(0, "nobody sends a message here", (int)(length + strlen(json)));
}

static void process_all(refork_worker* worker) {
  struct pollfd ready;
  ready.fd = refork_worker_fd(worker);
  ready.events = POLLIN;
  do refork_worker_process(worker);
  while (poll(&ready, 1, 0) > 0);
}

static void a_worker_alone(void) {
  refork_worker_options options = REFORK_WORKER_OPTIONS_INIT;
  refork_worker *worker = NULL, *second = NULL;
  refork_listener listener = REFORK_LISTENER_INIT;
  EXPECT(refork_worker_current() == NULL);
  options.drive = (refork_drive)9;
  EXPECT(refork_worker_open(&worker, &options) == -EINVAL);
  EXPECT(refork_worker_open(&worker, NULL) == 0);
  EXPECT(refork_worker_current() == worker);
  EXPECT(refork_worker_open(&second, NULL) == -EEXIST);
  EXPECT(strlen(refork_error_message()) > 0);
  EXPECT(refork_worker_supervised(worker) == 0);
  EXPECT(refork_worker_listeners(worker) == 0);
  EXPECT(refork_worker_listener(worker, 0, &listener) == -ENOENT);
  EXPECT(refork_worker_fd(worker) == -1);
  EXPECT(refork_worker_beat_every(worker) == 0);
  refork_worker_beat(worker);
  EXPECT(refork_worker_send(worker, "{}") == -ENOTCONN);
  EXPECT(refork_worker_on_message(worker, on_message, NULL) == 0);
  EXPECT(refork_worker_on_message(worker, NULL, NULL) == 0);
  refork_worker_ready(worker);
  EXPECT(refork_worker_finish(worker) == 0);
  refork_worker_close(worker);
  refork_worker_close(NULL);
  EXPECT(refork_worker_current() == NULL);
}

static void a_worker_records_and_drains(void) {
  refork_worker_options options = REFORK_WORKER_OPTIONS_INIT;
  refork_worker* worker = NULL;
  struct told told;
  struct seen seen;
  char id[64] = "";
  refork_domain* domain = seeing("request", &seen);
  refork_request request = REFORK_REQUEST_INIT, moved;
  refork_hold hold = REFORK_HOLD_INIT;
  const refork_error error = error_of("disk", EIO, "cannot read");
  memset(&told, 0, sizeof told);
  options.drive = REFORK_DRIVE_FD;
  options.lame_duck_ms = 7;
  options.exit_requested = 42;
  EXPECT(refork_worker_open(&worker, &options) == 0);
  EXPECT(refork_worker_on_pause(worker, on_pause, &told) == 0);
  EXPECT(refork_worker_on_resume(worker, on_resume, &told) == 0);
  EXPECT(refork_worker_on_drain(worker, on_drain, &told) == 0);
  EXPECT(refork_worker_on_drained(worker, on_drained, &told) == 0);
  EXPECT(refork_worker_fd(worker) >= 0);
  refork_worker_ready(worker);

  refork_request_end(&request);
  refork_request_begin(worker, "GET /", domain, &request);
  refork_request_timeout(&request, 60000);
  refork_hold_take(worker, &hold);
  refork_answer_prepare(&request, &hold, -1, "500", 3);
  refork_answer_prepare(&request, NULL, -1, "500", 3);
  refork_answer_withdraw();
  EXPECT(refork_report_errno(domain, EIO, NULL) == 0);
  EXPECT(strlen(seen.id) > 0);
  EXPECT(refork_report_errno(NULL, EIO, "of no domain") == 0);
  EXPECT(refork_worker_fail(worker, &error, REFORK_THEN_SERVE, id, sizeof id) == 0);
  EXPECT(strlen(id) > 0);
  EXPECT(refork_worker_fail(worker, &error, REFORK_THEN_SERVE, NULL, 0) == 0);
  refork_worker_crossed(worker);

  EXPECT(refork_worker_draining(worker) == 0);
  refork_worker_drain(worker, REFORK_DRAIN_RECYCLE);
  process_all(worker);
  EXPECT(refork_worker_draining(worker) == 1);
  EXPECT(told.drains == 1 && told.drained == 0);
  EXPECT(told.drain.size == sizeof(refork_drain));
  EXPECT(told.drain.reason == REFORK_DRAIN_RECYCLE);
  EXPECT(told.drain.lame_duck_ms == 7);
  EXPECT(told.drain.left_ms > 0 && told.drain.left_ms <= 30000);
  moved = request;
  refork_request_end(&moved);
  refork_request_end(&moved);
  process_all(worker);
  EXPECT(told.drained == 0);
  refork_hold_release(&hold);
  refork_hold_release(&hold);
  process_all(worker);
  EXPECT(told.drained == 1);
  EXPECT(told.paused == told.resumed);
  EXPECT(refork_worker_finish(worker) == 42);
  EXPECT(refork_worker_finish(worker) == 42);
  refork_worker_close(worker);
  refork_domain_unref(domain);
}

static void an_older_programs_options_keep_the_rest_at_its_default(void) {
  refork_worker_options options;
  refork_worker* worker = NULL;
  memset(&options, 0xff, sizeof options);
  options.size = offsetof(refork_worker_options, standalone);
  options.drive = REFORK_DRIVE_FD;
  EXPECT(refork_worker_open(&worker, &options) == 0);
  EXPECT(refork_worker_finish(worker) == 0);
  refork_worker_close(worker);
}

int main(void) {
  a_domain_is_counted_and_named();
  scopes_nest();
  run_calls_inside();
  what_cpp_throws_is_captured();
  without_a_handler_it_goes_outward_and_past_no_c_function();
  a_handler_can_be_replaced_joined_and_removed();
  a_report_says_what_where_and_in_which_context();
  the_stack_of_a_report_begins_at_its_caller();
  an_error_of_an_older_program_has_fewer_fields();
  the_error_of_a_handler_goes_outward_with_the_first_as_its_cause();
  what_finds_no_handler_goes_to_the_parent();
  an_observer_hears_of_all();
  context_is_set_replaced_and_cut();
  a_callback_runs_in_the_domain_that_bound_it();
  a_callback_bound_outside_runs_outside();
  a_call_needs_no_object();
  a_member_reports_to_its_domain_unless_it_has_a_listener();
  a_worker_alone();
  a_worker_records_and_drains();
  an_older_programs_options_keep_the_rest_at_its_default();
  if (!failed) puts("all of it is so");
  return failed;
}
