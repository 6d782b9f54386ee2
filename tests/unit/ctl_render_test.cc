// What people see, to the letter.
#include "ctl/render.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "ctl/json.h"

namespace refork::ctl {
namespace {

class RenderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
  View view{100, false, 1'790'000'192'000};
};

Status some_status() {
  Status status;
  status.daemon = {
      "0.1.0", 4711, 1'790'000'000'000, 6'815'744, "/etc/refork/refork.json", {"ok", "", "", 0, 0}};
  Service web{"web", "running", 3, 2, 12, 11, {"tcp://0.0.0.0:8080", "unix:/run/web.sock"}, "", "", {}};
  web.workers = {{12, "web", 0, 4699, "draining", 2, 1, 800, true, 1'789'996'592'000, 1'790'000'219'000, 0,
                  9'437'184, "error"},
                 {17, "web", 0, 4720, "serving", 3, 2, 1200, false, 1'790'000'180'000, 0, 0, 8'493'465, ""},
                 {0, "web", 1, 0, "backoff", 3, 0, 0, false, 0, 0, 1'790'000'196'000, 0, "exited with 1"}};
  status.services = {{"api", "stopped", 1, 0, 0, 0, {}, "", "", {}}, web};
  return status;
}

TEST_F(RenderTest, TheStatusShowsServicesAndWorkers) {
  EXPECT_EQ(
      render_status(some_status(), view),
      "reforkd 0.1.0, pid 4711, up 3m12s, 6.5M, /etc/refork/refork.json\n"
      "\n"
      "api: stopped, generation 1, 0/0 serving, 0 failures, 0 restarts\n"
      "\n"
      "web: running, generation 3, 1/2 serving, 12 failures, 11 restarts\n"
      "  tcp://0.0.0.0:8080 unix:/run/web.sock\n"
      "  SLOT  WORKER   PID  STATE     GEN  IN-FLIGHT  SERVED    AGE  MEMORY  NOTE\n"
      "     0      12  4699  draining    2          1     800  1h00m    9.0M  tainted, error, killed in 27s\n"
      "     0      17  4720  serving     3          2    1200    12s    8.1M\n"
      "     1       -     -  backoff     3          -       -      -       -  exited with 1, next start "
      "in…\n");
}

TEST_F(RenderTest, NoLineIsWiderThanTheTerminal) {
  for (const std::size_t width : {60u, 80u, 100u, 132u}) {
    view.width = width;
    const std::string text = render_status(some_status(), view);
    for (std::size_t start = 0; start < text.size(); start = text.find('\n', start) + 1)
      EXPECT_LE(columns(text.substr(start, text.find('\n', start) - start)), width);
  }
}

TEST_F(RenderTest, AStoreThatCannotWriteIsNamed) {
  auto status = some_status();
  status.services.clear();
  status.daemon.store = {"degraded", "disk full", "", 12, 1};
  EXPECT_EQ(render_status(status, view),
            "reforkd 0.1.0, pid 4711, up 3m12s, 6.5M, /etc/refork/refork.json\n"
            "store degraded: disk full, 12 records kept in memory, 1 dropped\n");
}

// clang-format off
constexpr const char* record = R"json({"id":"01ab","revision":2,"time":"2026-09-21T14:13:20.000Z","time_ms":1790000000000,
  "service":"web","slot":0,"worker":17,"pid":4720,"kind":"exception","type":"std::runtime_error",
  "message":"no such \u001b[2Jrow\nat all","causes":[{"type":"std::logic_error","message":"empty key"}],
  "domain":"request","domains":["request","session"],"thrown":true,"emitter":null,"bound":"timer","rethrown":false,
  "request":{"label":"GET /error?…","age_ms":12},"context":{"user":"7"},
  "stack":[
    {"function":"raise","file":null,"line":null,"module":"/usr/lib/libx.so","offset":16,"in_app":false},
    {"function":"handle(Request&)","file":"src/app.cc","line":42,"module":"/usr/lib/web/server","offset":9,"in_app":true},
    {"function":null,"file":null,"line":null,"module":"/usr/lib/web/server","offset":4112,"in_app":true}],
  "fingerprint":"00112233445566ff","count":3,"in_flight_at_failure":5,
  "drain":{"requested":"error","outcome":"deadline","duration_ms":30000,"completed":4,"crossed":1,
           "cut":[{"label":"GET /hang","age_ms":29000}]},
  "exit":{"code":null,"signal":9,"core":false},"output_tail":null})json";
// clang-format on

TEST_F(RenderTest, AFailureBeginsWithItsCauseItsRequestAndItsPlace) {
  const auto failure = parse_failure(record);
  ASSERT_TRUE(failure) << failure.error().what;
  EXPECT_EQ(render_failure(*failure, view),
            "web/0 worker 17: std::runtime_error: no such \\x1b[2Jrow\\nat all\n"
            "  caused by std::logic_error: empty key\n"
            "where        handle(Request&) at src/app.cc:42\n"
            "request      GET /error?… (12ms old)\n"
            "others       1 cut without an answer, 1 lost on a closing connection\n"
            "  cut GET /hang (29s old)\n"
            "\n"
            "id           01ab\n"
            "time         2026-09-21 14:13:20\n"
            "kind         exception\n"
            "happened     3 times: identical failures, recorded as one\n"
            "domain       request in session\n"
            "callback     timer\n"
            "context      user = 7\n"
            "in flight    5 requests when it happened\n"
            "drain        not over by its deadline, after 30s, begun after this error, 4 requests "
            "finished in it\n"
            "exit         killed by SIGKILL\n"
            "pid          4720\n"
            "fingerprint  00112233445566ff\n"
            "stack        newest first\n"
            "  #0  raise at /usr/lib/libx.so+0x10\n"
            "  #1  handle(Request&) at src/app.cc:42\n"
            "  #2  /usr/lib/web/server+0x1010\n");
}

TEST_F(RenderTest, ARecordWithoutNamesSaysWhyItHasNone) {
  auto failure = *parse_failure(record);
  const std::string hint =
      "names        not known: refork-symbolizer gave none; the log of reforkd says why\n";
  EXPECT_EQ(render_failure(failure, view).find(hint), std::string::npos);
  std::string unnamed = record;
  unnamed.insert(unnamed.rfind('}'), R"(,"unnamed":true)");
  EXPECT_NE(render_failure(*parse_failure(unnamed), view).find(hint), std::string::npos);
}

// clang-format off
constexpr const char* crash = R"json({"id":"01ab","time_ms":1790000000000,"service":"web","slot":0,"worker":17,
  "pid":4720,"kind":"signal","type":null,"message":"killed by SIGSEGV","request":{"label":"GET /x","age_ms":12},
  "fault":{"signal":11,"si_code":1,"address":"0x0","sender":null},
  "stack":[
    {"function":"memcpy","file":null,"line":null,"module":"/lib/libc.so.6","offset":16,"in_app":false},
    {"function":"parse_header","file":"app.cc","line":42,"module":"/usr/lib/web/server","offset":9,"in_app":true}],
  "drain":{"requested":null,"outcome":null,"cut":[{"label":"GET /y","age_ms":4,
    "stack":[{"function":"wait","file":"b.cc","line":7,"in_app":true}]}]},
  "exit":{"code":null,"signal":11,"core":true,"core_file":"/var/crash/core.4720"},
  "output_tail":"one\n\u001b[1mtwo"})json";
// clang-format on

std::string first_line(const Failure& failure, const View& view) {
  const std::string text = render_failure(failure, view);
  return text.substr(0, text.find('\n'));
}

TEST_F(RenderTest, ACrashSaysInItsFirstLineWhatWhereAndForWhom) {
  auto failure = *parse_failure(crash);
  EXPECT_EQ(first_line(failure, view),
            "web/0 worker 17: SIGSEGV at 0x0 in parse_header (app.cc:42), while serving GET /x");
  failure.request.reset();
  failure.stack.clear();
  EXPECT_EQ(first_line(failure, view), "web/0 worker 17: SIGSEGV at 0x0");
  failure.fault = Fault{6, -6, "0x0", 99};
  EXPECT_EQ(first_line(failure, view), "web/0 worker 17: SIGABRT sent by process 99");
  failure.fault->sender = 4720;
  EXPECT_EQ(first_line(failure, view), "web/0 worker 17: SIGABRT raised by the process itself");
}

TEST_F(RenderTest, WhatNobodyCouldCountIsNotTold) {
  const std::string text = render_failure(
      *parse_failure(R"({"id":"01ab","service":"web","kind":"signal","message":"killed by SIGSEGV",
        "in_flight_at_failure":null,"drain":{"outcome":"died","duration_ms":5,"completed":null,
        "crossed":null,"cut":null},"exit":{"signal":11}})"),
      view);
  EXPECT_EQ(text.find("others"), std::string::npos) << text;
  EXPECT_EQ(text.find("in flight"), std::string::npos) << text;
  EXPECT_NE(text.find("drain        the worker died in it, after 5ms\n"), std::string::npos) << text;
}

TEST_F(RenderTest, ACrashSaysWhereItsCoreIsWhatTheOthersDidAndWhatItWroteLast) {
  const std::string text = render_failure(*parse_failure(crash), view);
  for (const char* part : {"  cut GET /y (4ms old), in wait (b.cc:7)\n",
                           "killed by SIGSEGV, core dumped: /var/crash/core.4720\n",
                           "output       the last lines\n  one\n  \\x1b[1mtwo\n"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  EXPECT_TRUE(text.ends_with("two\n"));
}

TEST_F(RenderTest, AHangShowsWhatItsThreadsDo) {
  Failure failure;
  failure.kind = "hang";
  failure.message = "its loop has not beaten for 10.2s (watchdog 10s)";
  failure.threads = {{7, "web", "GET /hang", {{"spin", "a.cc", 3, "/bin/web", 1, true}}}, {8, "", "", {}}};
  const std::string text = render_failure(failure, view);
  EXPECT_NE(text.find("threads      2 threads\n  7 web, serving GET /hang\n    #0  spin at a.cc:3\n  8\n"),
            std::string::npos)
      << text;
  EXPECT_TRUE(text.starts_with("/0 worker 0: its loop has not beaten for 10.2s (watchdog 10s)\n"));
}

TEST_F(RenderTest, ADrainThatWentWellIsToldAsSuch) {
  Failure failure;
  failure.id = "01ab";
  failure.service = "web";
  failure.worker = 17;
  failure.time_ms = 1'790'000'000'000;
  failure.kind = "error";
  failure.type = "std::error_code";
  failure.message = "connection refused";
  failure.thrown = false;
  failure.rethrown = true;
  failure.domain = "session";
  failure.domains = {"request", "session"};
  failure.emitter = "db";
  failure.in_flight = 1;
  failure.drain = Failure::Drain{"error", "clean", 120, 1, 0, {}};
  failure.exit = Failure::Exit{1, {}, false};
  EXPECT_EQ(render_failure(failure, view),
            "web/0 worker 17: std::error_code: connection refused\n"
            "others       none cut\n"
            "\n"
            "id           01ab\n"
            "time         2026-09-21 14:13:20\n"
            "kind         error, reported, not thrown, rethrown: the first throw is not known\n"
            "domain       request in session, captured by session\n"
            "emitter      db\n"
            "in flight    1 request when it happened\n"
            "drain        clean, in 120ms, begun after this error, 1 request finished in it\n"
            "exit         code 1 (as asked, after an error)\n");
}

TEST_F(RenderTest, WhatIsNotOverYetIsNotToldAsOver) {
  Failure failure;
  const auto others = [&] {
    const std::string text = render_failure(failure, view);
    const auto from = text.find("others       ") + 13;
    return text.substr(from, text.find('\n', from) - from);
  };
  EXPECT_EQ(others(), "not known yet: the worker has not ended");
  failure.drain = Failure::Drain{"error", "", 0, 0, 0, {}};
  EXPECT_EQ(others(), "not known yet: the worker has not ended");
  failure.then = "serve";
  EXPECT_EQ(others(), "not disturbed: the worker was to serve on");
  failure.exit = Failure::Exit{{}, 11, true};
  EXPECT_EQ(others(), "none cut");
  failure.drain->outcome = "died";
  EXPECT_EQ(others(), "none cut");
}

TEST_F(RenderTest, TheFailedRequestIsNoneOfTheOthers) {
  Failure failure;
  failure.request = Request{"GET /error", 10};
  failure.drain = Failure::Drain{"error", "deadline", 30000, 0, 0, {{"GET /error", 30010}}};
  EXPECT_NE(render_failure(failure, view).find("others       none cut; this one got no answer either\n"),
            std::string::npos);
  failure.drain->cut.push_back({"GET /", 400});
  EXPECT_NE(render_failure(failure, view).find("others       1 cut without an answer; this one"),
            std::string::npos);
}

FailureGroup some_group() {
  return *parse_group(
      R"json({"fingerprint":"00112233445566ff","count":1203,"records":3,"first_ms":1790000000000,
  "last_ms":1790000100000,"services":["api","web"],"kind":"exception","type":"std::runtime_error",
  "message":"no such\trow","where":{"function":"handle(Request&)","file":"src/app.cc","line":42,"in_app":true},
  "id":"01ab"})json");
}

TEST_F(RenderTest, TheMostFrequentFailuresAreOneLineEach) {
  FailureGroup bare;
  bare.count = 1;
  bare.kind = "boot";
  bare.id = "02";
  bare.services = {"web"};
  view.width = 0;
  EXPECT_EQ(render_top({some_group(), bare}, view),
            "COUNT  LAST SEEN            FIRST SEEN           SERVICES  NEWEST ID  "
            "WHERE                              ERROR\n"
            " 1203  2026-09-21 14:15:00  2026-09-21 14:13:20  api,web   01ab       "
            "handle(Request&) at src/app.cc:42  std::runtime_error: no such\\trow\n"
            "    1  1970-01-01 00:00:00  1970-01-01 00:00:00  web       02         "
            "-                                  boot\n");
  view.width = 90;
  EXPECT_EQ(render_top({some_group()}, view),
            "COUNT  LAST SEEN       SERVICES  NEWEST ID  WHERE      ERROR\n"
            " 1203  09-21 14:15:00  api,web   01ab       app.cc:42  std::runtime_error: no such\\trow\n");
  auto long_id = some_group();
  long_id.id = "1a20408f808-260147de-0001";
  EXPECT_EQ(render_top({long_id}, view),
            "COUNT  LAST SEEN       SERVICES  WHERE      ERROR\n"
            " 1203  09-21 14:15:00  api,web   app.cc:42  std::runtime_error: no such\\trow\n");
  view.width = 120;
  EXPECT_NE(render_top({long_id}, view).find(long_id.id + "  app.cc:42  std::runtime_error"),
            std::string::npos);
  view.width = 48;
  EXPECT_NE(render_top({long_id}, view).find("  app.cc:42  "), std::string::npos);
  long_id.where->file.clear();
  long_id.where->module = "/usr/lib/web/server";
  long_id.where->offset = 0xd16e;
  EXPECT_NE(render_top({long_id}, view).find("  server+0xd16e  "), std::string::npos);
  EXPECT_EQ(render_top({}, view), "No failures.\n");
  EXPECT_FALSE(parse_group("[]"));
}

TEST_F(RenderTest, FailuresAreOneLineEach) {
  const std::vector<Failure> failures = {*parse_failure(record)};
  EXPECT_EQ(render_failures(failures, view),
            "TIME            ID    SLOT   ERROR                                           REQUEST\n"
            "09-21 14:13:20  01ab  web/0  std::runtime_error: no such \\x1b[2Jrow\\nat all  GET /error?…\n");
  EXPECT_EQ(render_failures({}, view), "No failures.\n");
}

TEST_F(RenderTest, AFailureWithoutARequestShowsTheFirstThatItCut) {
  Failure failure;
  failure.drain = Failure::Drain{};
  const auto shows = [&](const std::string& request) {
    return render_failures({failure}, view).ends_with("  " + request + "\n");
  };
  EXPECT_TRUE(shows("-"));
  failure.drain->cut.push_back({"GET /a", 400});
  EXPECT_TRUE(shows("GET /a"));
  failure.drain->cut.push_back({"GET /b", 300});
  failure.drain->cut.push_back({"GET /c", 200});
  EXPECT_TRUE(shows("GET /a +2"));
  failure.request = Request{"GET /own", 10};
  EXPECT_TRUE(shows("GET /own"));
}

TEST_F(RenderTest, FramesAlikeAreOneLineWithTheNumberOfTheNewest) {
  Failure failure;
  const Frame descend{"descend()", "a.cc", 7, "", 0, true}, start{"start()", "a.cc", 9, "", 0, true};
  failure.stack = {descend, descend, descend, start};
  EXPECT_NE(
      render_failure(failure, view).find("  #0  descend() at a.cc:7, 3 times\n  #3  start() at a.cc:9\n"),
      std::string::npos);
}

TEST_F(RenderTest, AnEventIsOneLine) {
  const Event event{7, 1'790'000'000'000, "worker-ready", "web", 0, 17, 4720, "after 12 ms"};
  EXPECT_EQ(render_event(event, view),
            "2026-09-21 14:13:20 worker-ready web/0 worker 17 (pid 4720): after 12 ms\n");
  EXPECT_EQ(render_event({8, 1'790'000'000'000, "store-state", "", -1, 0, 0, "ok"}, view),
            "2026-09-21 14:13:20 store-state ok\n");
  view.width = 40;
  EXPECT_EQ(render_event(event, view), "2026-09-21 14:13:20 worker-ready web/0 …\n");
}

constexpr const char* status_for_scripts = R"({
  "daemon": {
    "version": "0.1.0",
    "pid": 4711,
    "started_ms": 1790000000000,
    "rss_bytes": 6815744,
    "config": "/etc/refork/refork.json",
    "store": {
      "state": "ok",
      "why": null,
      "path": null,
      "waiting": 0,
      "dropped": 0
    }
  },
  "services": [
    {
      "name": "web",
      "state": "running",
      "generation": 3,
      "wanted": 2,
      "failures": 12,
      "restarts": 11,
      "listen": [
        "tcp://0.0.0.0:8080",
        "unix:/run/web.sock"
      ],
      "log": null,
      "why": null,
      "workers": [
        {
          "id": 12,
          "slot": 0,
          "pid": 4699,
          "state": "draining",
          "generation": 2,
          "in_flight": 1,
          "served": 800,
          "tainted": true,
          "started_ms": 1789996592000,
          "rss_bytes": 9437184,
          "deadline_ms": 1790000219000,
          "next_start_ms": null,
          "why": "error"
        },
        {
          "id": null,
          "slot": 1,
          "pid": null,
          "state": "backoff",
          "generation": 3,
          "in_flight": 0,
          "served": 0,
          "tainted": false,
          "started_ms": null,
          "rss_bytes": 0,
          "deadline_ms": null,
          "next_start_ms": 1790000196000,
          "why": "exited with 1"
        }
      ]
    }
  ]
}
)";

TEST_F(RenderTest, TheNamesOfTheStatusForScriptsAreFixed) {
  auto status = some_status();
  status.services.erase(status.services.begin());
  status.services[0].workers.erase(status.services[0].workers.begin() + 1);
  EXPECT_EQ(status_json(status), status_for_scripts);
}

TEST_F(RenderTest, TheNamesOfEventsFailuresAndMessagesForScriptsAreFixed) {
  EXPECT_EQ(event_json({7, 1000, "worker-ready", "web", 0, 17, 4720, "x"}),
            "{\"sequence\":7,\"time_ms\":1000,\"type\":\"worker-ready\",\"service\":\"web\",\"slot\":0,"
            "\"worker\":17,"
            "\"pid\":4720,\"text\":\"x\"}\n");
  EXPECT_EQ(failures_json({"{\"a\":1}", "{\"b\":2}"}), "[\n{\"a\":1},\n{\"b\":2}\n]\n");
  EXPECT_EQ(failures_json({}), "[]\n");
  EXPECT_EQ(message_json(17, "{\"n\":1}"), "{\"type\":\"message\",\"worker\":17,\"message\":{\"n\":1}}\n");
}

TEST_F(RenderTest, ARecordOfAnotherShapeIsReadAsFarAsItGoes) {
  EXPECT_FALSE(parse_failure("[]"));
  EXPECT_FALSE(parse_failure("{"));
  const auto odd =
      parse_failure(R"({"id":7,"stack":{},"causes":[1],"slot":"x","request":"y","exit":{"code":1}})");
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->id, "");
  EXPECT_EQ(odd->exit->code, 1);
}

}  // namespace
}  // namespace refork::ctl
