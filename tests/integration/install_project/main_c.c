/* A server in C with librefork, in small: exits with 0 if all of it works across the library's border. */

#include <errno.h>
#include <refork/refork.h>
#include <stdio.h>
#include <string.h>

static int answered;

static void answer(const refork_failure* failure, void* arg) {
  answered = strcmp(refork_failure_message(failure), (const char*)arg) == 0;
}

static void serve(void* arg) { refork_report_errno((refork_domain*)arg, EPIPE, "backend"); }

int main(void) {
  refork_worker_options options = REFORK_WORKER_OPTIONS_INIT;
  refork_request request = REFORK_REQUEST_INIT;
  refork_domain* domain = refork_domain_new("request");
  refork_worker* worker = NULL;
  int exit_code;

  options.drive = REFORK_DRIVE_FD;
  if (refork_worker_open(&worker, &options) != 0) return 1;
  refork_domain_on_error(domain, answer, "backend: Broken pipe (errno 32)", NULL, REFORK_THEN_SERVE);
  refork_request_begin(worker, "GET /", domain, &request);
  refork_domain_run(domain, serve, domain);
  refork_request_end(&request);
  refork_domain_unref(domain);
  exit_code = refork_worker_finish(worker);
  refork_worker_close(worker);
  printf("a reported error is answered: %s\n", answered ? "yes" : "NO");
  return answered ? exit_code : 1;
}
