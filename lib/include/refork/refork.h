#pragma once

/* librefork for servers in C (C99 or later; usable from C++, too). What the words mean is told in domain.hpp
 * and worker.hpp, whose powers these are.
 *
 * Errors: a function that can fail returns 0 or a negative errno, and says which; refork_error_message() has
 * a sentence where the number alone does not tell. -ENOMEM may come from any of them.
 *
 * Exceptions: none crosses a function of this header. C++ code below a callback may throw: its domain
 * captures it, as in C++; what is to go outward from there is given to the next domain outward, never past C
 * code.
 *
 * Structs given by pointer begin with their size, which the *_INIT macros set: later versions add fields at
 * the end. A `reserved` field is librefork's own. Strings are UTF-8 and end with NUL; those passed in are
 * copied.
 *
 * Threads: unless it says otherwise, any thread may call a function. */

#include <stddef.h>
#include <stdint.h>

#include "refork/version.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct refork_domain refork_domain;
typedef struct refork_emitter refork_emitter;
typedef struct refork_callback refork_callback;
typedef struct refork_failure refork_failure;
typedef struct refork_worker refork_worker;

typedef void (*refork_function)(void* arg);
/* Frees the `arg` of a callback that is not needed any more; may be NULL. */
typedef void (*refork_free)(void* arg);

/* Why the last function that failed on this thread did so; "" if there is nothing to add to its errno. Valid
 * until the next one fails on this thread. */
REFORK_API const char* refork_error_message(void);

/* ---- errors ---- */

/* What a failure is about; failures of one kind and type at one place are counted together. */
typedef enum refork_kind {
  REFORK_KIND_EXCEPTION,
  REFORK_KIND_ERROR, /* reported, as all that C code reports */
  REFORK_KIND_SIGNAL,
  REFORK_KIND_TERMINATE,
  REFORK_KIND_HANG,
  REFORK_KIND_TIMEOUT,
  REFORK_KIND_DEADLINE,
  REFORK_KIND_OOM,
  REFORK_KIND_EXIT,
  REFORK_KIND_PROTOCOL,
  REFORK_KIND_BOOT,
  REFORK_KIND_HANDLER /* an error handler failed itself */
} refork_kind;

/* What follows an error once its handler has answered. */
typedef enum refork_then {
  REFORK_THEN_DRAIN, /* the worker is replaced: an error handler is no substitute for closing the process */
  REFORK_THEN_SERVE /* the error is recorded and the worker goes on, because its author says that its state is
                       sound */
} refork_then;

/* An error to report. */
typedef struct refork_error {
  size_t size;
  const char* type;    /* groups errors: "backend", "parser"; NULL: "errno" with a code, otherwise "error" */
  int code;            /* an errno, of either sign; 0: none. Its text is added to the message */
  const char* message; /* NULL: none */
} refork_error;
#define REFORK_ERROR_INIT \
  { sizeof(refork_error), NULL, 0, NULL }

/* A captured failure, as an error handler gets it. Valid, with all that these functions return, during the
 * call. Strings are never NULL; "" is nothing. */
REFORK_API refork_kind refork_failure_kind(const refork_failure* failure);
REFORK_API const char* refork_failure_type(const refork_failure* failure);
REFORK_API const char* refork_failure_message(const refork_failure* failure);
REFORK_API const char* refork_failure_domain(const refork_failure* failure); /* the one that captured it */
REFORK_API const char* refork_failure_bound(const refork_failure* failure);  /* label of the bound callback */
REFORK_API const char* refork_failure_emitter(
    const refork_failure* failure); /* the emitter that reported it */
REFORK_API const char* refork_failure_id(
    const refork_failure* failure);                                  /* of its record; "" if not recorded */
REFORK_API int refork_failure_thrown(const refork_failure* failure); /* 0: reported */
/* The names of the domains active where it happened, innermost first; NULL beyond the last. */
REFORK_API const char* refork_failure_active_domain(const refork_failure* failure, size_t index);
/* The value of a key of its context; NULL if it is not there. */
REFORK_API const char* refork_failure_context(const refork_failure* failure, const char* key);
/* Nested errors, outermost first: type and message of one (either pointer may be NULL); -ENOENT beyond the
 * last. */
REFORK_API int refork_failure_cause(const refork_failure* failure, size_t index, const char** type,
                                    const char** message);
/* Return addresses from the place of the error, newest first; refork_failure_address() is NULL beyond the
 * last. */
REFORK_API size_t refork_failure_depth(const refork_failure* failure);
REFORK_API const void* refork_failure_address(const refork_failure* failure, size_t index);
/* Kind handler: the error whose handler failed; otherwise NULL. */
REFORK_API const refork_failure* refork_failure_original(const refork_failure* failure);

/* An error handler. Runs on the thread that captured or reported the error, outside its domain, never
 * concurrently with itself. It has failed itself if it reports an error to its own domain: that one goes
 * outward once it returns, with the first kept as its cause. It must return: no longjmp, no pthread_exit. */
typedef void (*refork_handler)(const refork_failure* failure, void* arg);

/* ---- domains ---- */

/* A new domain, with one reference that is the caller's; NULL without memory. `name` may be NULL. */
REFORK_API refork_domain* refork_domain_new(const char* name);
/* One more reference, and one less. The domain ends with the last one, or, if a call inside it is under way
 * on the same thread, when that returns. NULL is allowed, and nothing. */
REFORK_API refork_domain* refork_domain_ref(refork_domain* domain);
REFORK_API void refork_domain_unref(refork_domain* domain);
REFORK_API const char* refork_domain_name(const refork_domain* domain); /* valid as long as the domain */

/* This thread's active domain with a new reference for the caller, or NULL. */
REFORK_API refork_domain* refork_domain_current(void);

/* Where refork_domain_enter() keeps its entry; on the caller's stack, or wherever it stays until the exit. */
typedef struct refork_scope {
  void* reserved[8];
} refork_scope;
/* Makes `domain` (NULL: none) the active one of this thread until refork_domain_exit() on the same thread,
 * which also ends every scope entered since. A scope captures nothing by itself: see refork_domain_run. Once
 * for each enter. */
REFORK_API void refork_domain_enter(refork_domain* domain, refork_scope* scope);
REFORK_API void refork_domain_exit(refork_scope* scope);

/* Calls function(arg) inside the domain, and returns 0. What C++ code below it throws is captured: by the
 * domain, if it has a handler, otherwise by the next one outward that runs on this thread and has, otherwise
 * by the Worker; then -ECANCELED is returned. Where nobody captures, std::terminate is called at the throw.
 */
REFORK_API int refork_domain_run(refork_domain* domain, refork_function function, void* arg);

/* The same for a callback that a loop calls, inside the domain (NULL: outside all) that was active when it
 * was scheduled: its errors go to the domain or to the Worker, never outward. `label` (NULL: none) names it
 * in failures. The caller holds a reference meanwhile. */
REFORK_API int refork_call_in(refork_domain* domain, const char* label, refork_function function, void* arg);

/* Sets, replaces or (NULL) removes the handler; takes effect at once, for calls under way too.
 * `free_arg(arg)` is called when the handler is gone: replaced, removed, or ended with its domain, which may
 * be on another thread. On an error it is not. A handler's `arg` must hold no reference to its own domain, or
 * neither ends. */
REFORK_API int refork_domain_on_error(refork_domain* domain, refork_handler handler, void* arg,
                                      refork_free free_arg, refork_then then);

/* Adds a handler that runs after those that are there, unless one of them fails. */
REFORK_API int refork_domain_also_on_error(refork_domain* domain, refork_handler handler, void* arg,
                                           refork_free free_arg, refork_then then);

/* Told of every failure of the process, before the handler of its domain: for logs and counters. A second one
 * replaces the first; NULL takes it away. It runs on the thread of the failure, perhaps on several at once.
 */
REFORK_API int refork_observe_failures(refork_handler observer, void* arg, refork_free free_arg);

/* Makes a domain the parent of another, which it keeps alive no longer than before: what is reported to the
 * child, and finds no handler there, is reported to the parent. NULL: to none. -EINVAL if one would be its
 * own ancestor. */
REFORK_API int refork_domain_set_parent(refork_domain* child, refork_domain* parent);
/* With a new reference for the caller, or NULL. */
REFORK_API refork_domain* refork_domain_parent(const refork_domain* domain);

/* Tells the domain (NULL: only the Worker) of an error: it is recorded, and the handler answers, before this
 * returns 0; the caller then gives up what it was doing, by returning. The stack of the failure begins at the
 * caller. -ENOENT: there is no handler and no Worker; nothing has happened. */
REFORK_API int refork_report(refork_domain* domain, const refork_error* error);
/* The same for `code`, an errno of either sign, with a message (or NULL). */
REFORK_API int refork_report_errno(refork_domain* domain, int code, const char* message);

/* Key/value pairs that are copied into the failures of this domain and of domains active together with it. */
REFORK_API int refork_domain_set(refork_domain* domain, const char* key, const char* value);
/* Copies the value into the buffer, cut to its size, and returns the value's whole length; -ENOENT: no such
 * key. */
REFORK_API long refork_domain_get(const refork_domain* domain, const char* key, char* buffer, size_t size);

/* ---- bound callbacks ---- */

/* Binds function(arg) to the active domain, or to none, where a callback is handed to somebody who calls it
 * later. The callback is the caller's to free, and keeps the domain alive; NULL without memory. `label` may
 * be NULL. */
REFORK_API refork_callback* refork_bind(refork_function function, void* arg, const char* label);
/* The same to this domain (NULL: none). */
REFORK_API refork_callback* refork_domain_bind(refork_domain* domain, refork_function function, void* arg,
                                               const char* label);
REFORK_API void refork_callback_free(refork_callback* callback);
/* Calls it, as refork_call_in(). It may be freed meanwhile, by the function itself. */
REFORK_API int refork_call(const refork_callback* callback);
/* Calls and frees it: for libraries that take a void (*)(void *) and call it once. */
REFORK_API void refork_call_once(void* callback);

/* ---- emitters: what a program reports errors through ---- */

/* An emitter, bound to the domain that is active now, if any: a connection, an upstream, a timer. Used by one
 * thread at a time; the caller's to free, which also takes it out of its domain. NULL without memory. */
REFORK_API refork_emitter* refork_emitter_new(const char* name);
REFORK_API void refork_emitter_free(refork_emitter* emitter);
REFORK_API const char* refork_emitter_name(const refork_emitter* emitter);
/* Its domain with a new reference for the caller, or NULL. */
REFORK_API refork_domain* refork_emitter_domain(const refork_emitter* emitter);
/* A listener of its own wins over the domain, which is then told nothing, as it is if the error is recorded.
 * NULL removes it. `free_arg` as in refork_domain_on_error(). */
REFORK_API int refork_emitter_on_error(refork_emitter* emitter, refork_handler listener, void* arg,
                                       refork_free free_arg);
/* As refork_report() to its domain, with this as the emitter. */
REFORK_API int refork_emitter_report(refork_emitter* emitter, const refork_error* error);
/* Calls function(arg) inside the emitter's domain, labelled with its name, as refork_call_in(). */
REFORK_API int refork_emitter_call(refork_emitter* emitter, refork_function function, void* arg);
/* Binds it to this domain, after taking it out of the one it was in; -EINVAL if that cannot be. */
REFORK_API int refork_domain_add(refork_domain* domain, refork_emitter* emitter);
REFORK_API int refork_domain_remove(refork_domain* domain,
                                    refork_emitter* emitter); /* nothing if it is elsewhere */
/* Fills in up to `size` of the members added, in order; returns how many there are. */
REFORK_API size_t refork_domain_members(const refork_domain* domain, refork_emitter** members, size_t size);

/* ---- the worker ---- */

typedef enum refork_drive {
  REFORK_DRIVE_THREAD, /* a control thread of librefork's own: a drain's deadline holds even if the program
                          hangs */
  REFORK_DRIVE_FD      /* none: the program polls refork_worker_fd() and calls refork_worker_process() */
} refork_drive;

/* What an error does where there is no reforkd. SIGTERM always drains. */
typedef enum refork_standalone {
  REFORK_STANDALONE_AUTOMATIC, /* drain if the listeners were passed on, otherwise serve */
  REFORK_STANDALONE_SERVE,
  REFORK_STANDALONE_DRAIN
} refork_standalone;

typedef struct refork_worker_options {
  size_t size;
  refork_drive drive;
  refork_standalone standalone;
  /* Used without reforkd; with it, the service's configuration is what counts. */
  uint32_t drain_deadline_ms;
  uint32_t lame_duck_ms;
  /* Exit codes after a drain that was asked for, after an error, and at the deadline. */
  int exit_requested;
  int exit_error;
  int exit_deadline;
  /* 1: the queries in the labels of requests are meant for the operator's eyes; 0: they are hidden. The
   * service's own `redact` goes before this. */
  int show_query;
  /* 1: a memory fault in a thread that has prepared an answer lets the other threads finish before the
   * process dies of it. Unsound: read the warning at Worker::Options::contain_faults in worker.hpp. */
  int contain_faults;
} refork_worker_options;
#define REFORK_WORKER_OPTIONS_INIT                                                                         \
  {                                                                                                        \
    sizeof(refork_worker_options), REFORK_DRIVE_THREAD, REFORK_STANDALONE_AUTOMATIC, 30000, 1000, 0, 1, 3, \
        0, 0                                                                                               \
  }

/* Makes this process a worker: once, in main(), before other threads start. `options` may be NULL. -EEXIST:
 * it is one already; -EPROTO: the environment names a channel that is none (refork_error_message() tells).
 * Close it at the end. */
REFORK_API int refork_worker_open(refork_worker** worker, const refork_worker_options* options);
REFORK_API void refork_worker_close(refork_worker* worker); /* finishes first; NULL is allowed */
REFORK_API refork_worker* refork_worker_current(void);      /* the process's worker, or NULL; borrowed */
REFORK_API int refork_worker_supervised(const refork_worker* worker); /* 1: there is a reforkd */

typedef struct refork_listener {
  size_t size;
  int fd;              /* borrowed for reading its state; the program's to close */
  const char* name;    /* from LISTEN_FDNAMES, "unknown" where it names none */
  const char* address; /* "tcp://127.0.0.1:8080", "unix:/run/web.sock" */
} refork_listener;
#define REFORK_LISTENER_INIT \
  { sizeof(refork_listener), -1, NULL, NULL }

/* The sockets passed on by LISTEN_FDS: how many, and one of them, whose strings live as long as the worker.
 * -ENOENT beyond the last. */
REFORK_API size_t refork_worker_listeners(const refork_worker* worker);
REFORK_API int refork_worker_listener(const refork_worker* worker, size_t index, refork_listener* listener);

REFORK_API void refork_worker_ready(refork_worker* worker); /* serving; idempotent */

/* An accepted request that is not yet answered: the program's memory, any thread may end it. All zero is an
 * ended one. Moved by copying it and forgetting the old. */
typedef struct refork_request {
  uint64_t reserved[2];
} refork_request;
#define REFORK_REQUEST_INIT \
  {                         \
    { 0, 0 }                \
  }
/* A request begins, over what `request` held. `label` names it to the operator ("GET /search"); longer than
 * 191 bytes is cut. Errors of `domain` (NULL: none) are recorded as this request's. No lock, no allocation,
 * no system call. */
REFORK_API void refork_request_begin(refork_worker* worker, const char* label, refork_domain* domain,
                                     refork_request* request);
REFORK_API void refork_request_end(refork_request* request); /* idempotent */
/* From its beginning it may take this long, then it is recorded as a failure and its worker replaced. 0: the
 * service's `request_timeout`, which is also what it begins with. */
REFORK_API void refork_request_timeout(refork_request* request, uint32_t ms);

/* Keeps a draining worker from finishing: one for each open connection. The same rules as for refork_request.
 */
typedef struct refork_hold {
  uint64_t reserved[1];
} refork_hold;
#define REFORK_HOLD_INIT \
  {                      \
    { 0 }                \
  }
REFORK_API void refork_hold_take(refork_worker* worker, refork_hold* hold);
REFORK_API void refork_hold_release(refork_hold* hold); /* idempotent */

/* This thread is alive: where the service has a watchdog, a thread that has said so once and then not for as
 * long as the watchdog waits is hung, and the worker replaced. Called from the thread's own loop, every
 * refork_worker_beat_every() ms. Cheap; does nothing where nobody looks. */
REFORK_API void refork_worker_beat(refork_worker* worker);
/* 0: nobody looks. As long as reforkd has not said whether somebody does, a moment: ask again then. */
REFORK_API uint32_t refork_worker_beat_every(const refork_worker* worker);

/* Where faults are contained: should this thread fault from now on, these bytes, which are not copied, go out
 * on `fd`, and `request` ends as answered. `hold` is that of the connection, or NULL. Withdraw it before the
 * first byte of another answer is sent. */
REFORK_API void refork_answer_prepare(const refork_request* request, const refork_hold* hold, int fd,
                                      const char* bytes, size_t size);
REFORK_API void refork_answer_withdraw(void);

/* Why a drain was asked for. */
typedef enum refork_drain_reason {
  REFORK_DRAIN_ERROR,
  REFORK_DRAIN_OPERATOR,
  REFORK_DRAIN_RELOAD,
  REFORK_DRAIN_RECYCLE,
  REFORK_DRAIN_STOP
} refork_drain_reason;

typedef struct refork_drain {
  size_t size;
  refork_drain_reason reason;
  uint32_t lame_duck_ms; /* how long an idle keep-alive connection waits for a request under way */
  uint32_t left_ms;      /* until the deadline, at which the process ends */
} refork_drain;

/* Stop accepting for now; accept again; stop for good; nothing is left (without this one the process then
 * exits by itself; with it, return from main by way of refork_worker_finish()). NULL removes one. Set before
 * refork_worker_ready(); setting another waits until the old one is not running on another thread. They run
 * on the control thread or, on_pause, on the thread whose error caused it; in REFORK_DRIVE_FD mode, all but
 * on_pause run inside refork_worker_process(). Never concurrently with each other; they must not block.
 * on_pause and on_resume alternate; after on_drain neither comes. An on_drain that only tells the program's
 * loop keeps a refork_hold until that has acted. */
REFORK_API int refork_worker_on_pause(refork_worker* worker, refork_function function, void* arg);
REFORK_API int refork_worker_on_resume(refork_worker* worker, refork_function function, void* arg);
REFORK_API int refork_worker_on_drain(refork_worker* worker,
                                      void (*function)(const refork_drain* drain, void* arg), void* arg);
REFORK_API int refork_worker_on_drained(refork_worker* worker, refork_function function, void* arg);

REFORK_API int refork_worker_draining(const refork_worker* worker); /* 1: answers carry Connection: close */
/* A request was read from a connection after its lame duck had ended, and is lost: counted. */
REFORK_API void refork_worker_crossed(refork_worker* worker);

/* Records an error that belongs to no domain, stops accepting and asks for a replacement. The record's id is
 * copied into `id` (which may be NULL), cut to its size. */
REFORK_API int refork_worker_fail(refork_worker* worker, const refork_error* error, refork_then then,
                                  char* id, size_t id_size);
/* Asks for the drain of this worker, without an error. */
REFORK_API void refork_worker_drain(refork_worker* worker, refork_drain_reason reason);
/* Says that the process ends now, and returns the exit code for main(). No callback runs any more once it has
 * returned, unless it was called from one. Idempotent. */
REFORK_API int refork_worker_finish(refork_worker* worker);

/* Application messages: `json` is one JSON value of at most 60 KiB. -ENOTCONN: there is no primary; -EAGAIN:
 * not taken, because it is no JSON value, too long, the primary is gone, or its queue is full. */
REFORK_API int refork_worker_send(refork_worker* worker, const char* json);
/* Messages that arrive before this is set are kept for it. `json` ends with NUL and is valid during the call.
 */
REFORK_API int refork_worker_on_message(refork_worker* worker,
                                        void (*function)(const char* json, size_t length, void* arg),
                                        void* arg);

/* REFORK_DRIVE_FD only: poll this descriptor for reading, then process, which never blocks. -1 in the other
 * mode. */
REFORK_API int refork_worker_fd(const refork_worker* worker);
REFORK_API void refork_worker_process(refork_worker* worker);

#ifdef __cplusplus
}
#endif
