#include "proto/record.h"

#include <gtest/gtest.h>

#include <string>

#include "base/utf8.h"

namespace refork::proto {
namespace {

constexpr std::size_t slot_limit = 16368;
constexpr std::string_view ellipsis = "\xE2\x80\xA6";

FailureRecord sample() {
  FailureRecord record;
  record.id = "17-1";
  record.revision = 2;
  record.time_ms = 1700000000123;
  record.service = "web";
  record.slot = 3;
  record.worker = 17;
  record.pid = 4711;
  record.kind = Kind::handler;
  record.type = "std::runtime_error";
  record.message = "cannot read \"x\"\nsecond line";
  record.causes = {{"std::system_error", "No such file"}};
  record.domain = "request";
  record.domains = {"request", "connection"};
  record.thrown = false;
  record.emitter = "parser";
  record.bound = "on_read";
  record.rethrown = true;
  record.request = RequestRef{"GET /\xC3\xA4", 12};
  record.context = {{"user", "ada"}, {"path", "/x"}};
  record.stack = {{"main", "main.cc", 12, "/usr/bin/web", 0x1234, true},
                  {"", "", 0, "/lib/libc.so.6", 7, false}};
  record.build_ids = {{"/usr/bin/web", "00ff12ab"}};
  record.fingerprint = "0123456789abcdef";
  record.count = 5;
  record.in_flight_at_failure = 9;
  record.then = Then::serve;
  return record;
}

FailureRecord with_everything_at_its_limit() {
  FailureRecord record = sample();
  const std::string quotes(5000, '"');  // each is two bytes in JSON
  record.type = record.message = record.domain = record.emitter = record.bound = record.service = quotes;
  record.causes.assign(20, {quotes, quotes});
  record.domains.assign(200, quotes);
  record.request->label = quotes;
  record.stack.assign(500, Frame{quotes, quotes, 1, quotes, 1, true});
  for (int i = 0; i < 100; ++i)
    record.context.emplace_back(quotes.substr(0, 100) + std::to_string(i), quotes);
  return record;
}

FailureRecord through(const FailureRecord& record, std::size_t limit = slot_limit) {
  const std::string text = encode(record, limit);
  auto back = decode_record(text);
  EXPECT_TRUE(back) << text << ": " << back.error().what;
  return back ? *back : FailureRecord{};
}

std::string error_of(std::string_view text) {
  const auto record = decode_record(text);
  return record ? "none" : record.error().what;
}

std::string with(const std::string& field) {
  return R"({"id":"1-1","kind":"exception","then":"drain","fingerprint":"0123456789abcdef","revision":1,"time_ms":1,"count":1)" +
         (field.empty() ? "" : "," + field) + "}";
}

TEST(Record, HasTheDocumentedShape) {
  EXPECT_EQ(
      encode(sample()),
      R"({"id":"17-1","revision":2,"time_ms":1700000000123,"service":"web","slot":3,"worker":17,"pid":4711,)"
      R"("kind":"handler","type":"std::runtime_error","message":"cannot read \"x\"\nsecond line",)"
      R"("causes":[{"type":"std::system_error","message":"No such file"}],"domain":"request",)"
      R"("domains":["request","connection"],"thrown":false,"emitter":"parser","bound":"on_read","rethrown":true,)"
      "\"request\":{\"label\":\"GET /\xC3\xA4\",\"age_ms\":12},"
      R"("context":{"user":"ada","path":"/x"},)"
      R"("stack":[{"function":"main","file":"main.cc","line":12,"module":"/usr/bin/web","offset":4660,"in_app":true},)"
      R"({"function":null,"file":null,"line":null,"module":"/lib/libc.so.6","offset":7,"in_app":false}],)"
      R"("build_ids":{"/usr/bin/web":"00ff12ab"},)"
      R"("fingerprint":"0123456789abcdef","count":5,"in_flight_at_failure":9,"then":"serve",)"
      R"("fault":null,"threads":null,"output_tail":null,"unnamed":false})");
}

FailureRecord of_a_crash() {
  FailureRecord record = sample();
  record.fault = Fault{11, -6, 0x7fff00000010, 99};
  record.threads = {{7, "web", "GET /hang", {{"spin", "a.cc", 3, "/usr/bin/web", 5, true}}}, {8, "", "", {}}};
  record.output_tail = "one\n\ttwo";
  record.unnamed = true;
  return record;
}

TEST(Record, OfACrashOrAHangTellsOfTheProcessAsAWhole) {
  const std::string text = encode(of_a_crash());
  for (const char* part :
       {R"("fault":{"signal":11,"si_code":-6,"address":"0x7fff00000010","sender":99})",
        R"("threads":[{"tid":7,"name":"web","request":"GET /hang","stack":[{"function":"spin",)",
        R"({"tid":8,"name":null,"request":null,"stack":[]}])",
        R"("output_tail":"one\n\ttwo","unnamed":true)"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  const FailureRecord back = through(of_a_crash());
  EXPECT_EQ(encode(back), text);
  ASSERT_TRUE(back.fault);
  EXPECT_EQ(back.fault->address, 0x7fff00000010u);
  EXPECT_EQ(back.fault->si_code, -6);
  ASSERT_EQ(back.threads.size(), 2u);
  EXPECT_EQ(back.threads[0].stack[0].line, 3u);
}

TEST(Record, KeepsBuildIdsThatOnlyAThreadNeeds) {
  FailureRecord record = of_a_crash();
  record.stack.clear();
  EXPECT_EQ(through(record).build_ids, sample().build_ids);
}

TEST(Record, OfManyDeepThreadsLosesOldFramesFirstThenThreadsButNotTheOnesThatMatter) {
  FailureRecord record = of_a_crash();
  record.output_tail = std::string(2000, 'o');
  record.threads.assign(200, {7, "web", "GET /", {}});
  for (auto& thread : record.threads)
    thread.stack.assign(100, Frame{std::string(100, 'f'), "", 1, "/usr/bin/web", 1, true});
  record.threads[0].request = "GET /hang";

  const FailureRecord large = through(record, max_record_text);
  EXPECT_LE(large.threads.size(), max_threads);
  EXPECT_GE(large.threads.size(), 8u);
  EXPECT_GE(large.threads[0].stack.size(), 8u);
  EXPECT_EQ(large.threads[0].request, "GET /hang");
  EXPECT_EQ(large.output_tail.size(), 2000u);
  EXPECT_EQ(large.stack.size(), record.stack.size());

  EXPECT_LE(encode(record, least_record_limit).size(), least_record_limit);
}

TEST(RecordFromAWorker, AFaultHasAnAddressInHexadecimal) {
  for (const char* good : {R"("0x0")", R"("0xffffffffffffffff")", "null", R"("")"})
    EXPECT_EQ(error_of(with(R"("fault":{"signal":11,"address":)" + std::string(good) + "}")), "none") << good;
  for (const char* bad : {R"("0x")", R"("0")", R"("0xg")", R"("0x10000000000000000")", "1", R"("x0x1")"})
    EXPECT_NE(error_of(with(R"("fault":{"signal":11,"address":)" + std::string(bad) + "}")), "none") << bad;
  for (const char* bad : {R"("fault":[])", R"("fault":{"si_code":2147483648})", R"("threads":[1])",
                          R"("fault":{"si_code":18446744073709551615})", R"("threads":[{"stack":{}}])",
                          R"("threads":[{"tid":-1}])", R"("output_tail":[])"})
    EXPECT_NE(error_of(with(bad)), "none") << bad;
}

TEST(OutputEnd, IsTheLastLinesThatFit) {
  EXPECT_EQ(output_end("", 2, 10), "");
  EXPECT_EQ(output_end("\n\n", 2, 10), "");
  EXPECT_EQ(output_end("a\nb\nc\n", 2, 10), "b\nc");
  EXPECT_EQ(output_end("a\nb\nc", 3, 10), "a\nb\nc");
  EXPECT_EQ(output_end("a\n\nb\n", 2, 10), "\nb");
  EXPECT_EQ(output_end("aaaa\nbbbb\ncccc", 9, 9), "bbbb\ncccc");
  EXPECT_EQ(output_end("aaaa\nbbbb\ncccc", 9, 8), "cccc");
  EXPECT_EQ(output_end("abcdef", 9, 3), "def");
  EXPECT_EQ(output_end("a\xC3\xA4", 9, 1), "");
  EXPECT_EQ(output_end("a\xC3\xA4", 9, 2), "\xC3\xA4");
  EXPECT_EQ(output_end("x\x1B[1m\xFFy", 9, 99), "x[1m\xEF\xBF\xBDy");
}

TEST(OutputEnd, TwiceIsAsOnce) {
  for (const char* text : {"a\nb\nc\n\n", "\n\nabc\n", "long long line\nshort\n", "\xFF\xFF\xFF\xFF"}) {
    const std::string once = output_end(text, 2, 8);
    EXPECT_EQ(output_end(once, 2, 8), once) << text;
  }
}

TEST(Record, BuildIdsAreOfItsStackAndHexadecimal) {
  FailureRecord record = sample();
  record.build_ids = {{"/usr/bin/web", "00FF"}, {"/lib/libc.so.6", "aa"}, {"/elsewhere", "bb"}};
  const std::vector<std::pair<std::string, std::string>> kept = {{"/lib/libc.so.6", "aa"}};
  EXPECT_EQ(through(record).build_ids, kept);
  EXPECT_EQ(error_of(with(R"("build_ids":{"m":"00ff"})")), "none");
  for (const char* wrong : {R"("")", R"("0")", R"("0g")", R"("AA")", R"("../x")", "1", "[]"})
    EXPECT_NE(error_of(with(R"("build_ids":{"m":)" + std::string(wrong) + "}")), "none") << wrong;
  EXPECT_NE(error_of(with(R"("build_ids":[])")), "none");
  EXPECT_TRUE(is_build_id(std::string(max_build_id, 'a')));
  EXPECT_FALSE(is_build_id(std::string(max_build_id + 2, 'a')));
}

TEST(Record, NoMoreBuildIdsThanTheirLimit) {
  FailureRecord record = sample();
  for (std::size_t i = 0; i <= max_build_ids; ++i) {
    record.stack.push_back({"", "", 0, "/m" + std::to_string(i), 1, false});
    record.build_ids.emplace_back(record.stack.back().module, "aa");
  }
  EXPECT_EQ(through(record).build_ids.size(), max_build_ids);
}

TEST(Record, SurvivesTheWay) {
  const FailureRecord back = through(sample());
  EXPECT_EQ(encode(back), encode(sample()));
  EXPECT_EQ(back.kind, Kind::handler);
  EXPECT_EQ(back.then, Then::serve);
  EXPECT_EQ(back.context, sample().context);
  ASSERT_TRUE(back.request);
  EXPECT_EQ(back.request->age_ms, 12u);
}

TEST(Record, WhatDoesNotApplyIsNullAndReadBackAsEmpty) {
  FailureRecord record;
  record.id = "1-1";
  record.fingerprint = "0123456789abcdef";
  const std::string text = encode(record);
  for (const char* field : {"service", "type", "message", "domain", "emitter", "bound", "request"})
    EXPECT_NE(text.find('"' + std::string(field) + "\":null"), std::string::npos) << field;
  EXPECT_EQ(encode(through(record)), text);
}

TEST(Record, IsCutAtTheLimitsOfItsParts) {
  FailureRecord record = sample();
  record.message = std::string(max_message + 1, 'm');
  record.type = std::string(max_type, 't');
  record.bound = std::string(max_value + 1, 'b');
  const FailureRecord back = through(record);
  EXPECT_EQ(back.message, std::string(max_message - ellipsis.size(), 'm') + std::string(ellipsis));
  EXPECT_EQ(back.type, record.type);
  EXPECT_EQ(back.bound.size(), max_value);

  const FailureRecord all = through(with_everything_at_its_limit(), max_record_text);
  EXPECT_LE(all.causes.size(), max_causes);
  EXPECT_LE(all.stack.size(), max_frames);
  EXPECT_LE(all.context.size(), max_context);
  EXPECT_LE(all.domains.size(), max_domains);
}

TEST(Record, FitsItsSlotWhateverIsInIt) {
  for (const std::size_t limit : {least_record_limit, slot_limit, max_record_text})
    EXPECT_LE(encode(with_everything_at_its_limit(), limit).size(), limit);
}

TEST(Record, LosesContextFirstThenFramesThenTheMessage) {
  FailureRecord record = sample();
  record.message = std::string(4000, 'm');
  for (int i = 0; i < 30; ++i) record.context.emplace_back("key" + std::to_string(i), std::string(200, 'v'));
  record.stack.assign(100, Frame{std::string(100, 'f'), "", 1, "/usr/bin/web", 1, true});
  const std::size_t size = encode(record, max_record_text).size();

  const FailureRecord less = through(record, size - 1);
  EXPECT_LT(less.context.size(), record.context.size());
  EXPECT_EQ(less.stack.size(), record.stack.size());
  EXPECT_EQ(less.message, record.message);

  const FailureRecord less_still = through(record, 12000);
  EXPECT_TRUE(less_still.context.empty());
  EXPECT_LT(less_still.stack.size(), record.stack.size());
  EXPECT_FALSE(less_still.stack.empty());
  EXPECT_EQ(less_still.stack.front().function, record.stack.front().function);
  EXPECT_EQ(less_still.message, record.message);

  const FailureRecord least = through(record, least_record_limit);
  EXPECT_TRUE(least.stack.empty());
  EXPECT_LT(least.message.size(), record.message.size());
  EXPECT_EQ(least.causes.size(), 1u);
}

TEST(Record, BytesThatAreNoTextAreReplaced) {
  FailureRecord record = sample();
  record.message = "bad \xFF byte\x1B[2J";
  record.context = {{"k\xC0", "v\x80"}};
  const FailureRecord back = through(record);
  EXPECT_EQ(back.message, "bad \xEF\xBF\xBD byte[2J");
  EXPECT_EQ(back.context[0].first, "k\xEF\xBF\xBD");
}

TEST(RecordFromAWorker, NeedsWhatItIsFiledUnder) {
  EXPECT_EQ(error_of(with("")), "none");
  EXPECT_EQ(error_of("{}"), "a failure record has no \"id\"");
  EXPECT_EQ(error_of("[]"), "a failure record is a JSON object");
  EXPECT_EQ(error_of(R"({"id":"a b"})"),
            "a failure record has a wrong \"id\": expected 1 to 64 of the characters A-Z a-z 0-9 . _ : -");
  EXPECT_NE(error_of(R"({"id":"1","fingerprint":"0123456789ABCDEF"})").find("fingerprint"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"id":"1","fingerprint":"0123456789abcdef","kind":"oops"})")
                .find("one of exception, error"),
            std::string::npos);
}

TEST(RecordFromAWorker, IsRefusedIfItsStructureIsWrong) {
  for (const char* bad :
       {R"("message":1)", R"("causes":{})", R"("causes":[1])", R"("causes":[{"type":1}])", R"("domains":[1])",
        R"("domains":"x")", R"("request":[])", R"("request":{"age_ms":-1})", R"("context":[])",
        R"("context":{"a":1})", R"("stack":[null])", R"("stack":[{"line":4294967296}])", R"("thrown":0)",
        R"("pid":2147483648)", R"("slot":-1)"})
    EXPECT_NE(error_of(with(bad)), "none") << bad;
}

TEST(RecordFromAWorker, NullAndMissingBothMeanThatAFieldDoesNotApply) {
  EXPECT_EQ(
      error_of(with(R"("type":null,"request":null,"causes":null,"stack":null,"context":null,"thrown":null)")),
      "none");
  EXPECT_EQ(error_of(with(R"("later":[1])")), "none");
}

TEST(RecordFromAWorker, IsCutAndCleanedLikeOneOfOurOwn) {
  const auto record = decode_record(with(R"("message":")" + std::string(5000, 'm') +
                                         R"(","type":"a\u001b[1m\u0000b","domains":[)" + "\"d\"" +
                                         std::string(3 * 20, ' ') + R"(,"e"])"));
  ASSERT_TRUE(record) << record.error().what;
  EXPECT_EQ(record->message.size(), max_message);
  EXPECT_EQ(record->type, "a[1mb");
}

TEST(RecordFromAWorker, IsBoundedInSizeAndDepth) {
  const std::string text = with("");
  EXPECT_EQ(error_of(text + std::string(max_record_text - text.size(), ' ')), "none");
  EXPECT_EQ(error_of(text + std::string(max_record_text - text.size() + 1, ' ')),
            "a failure record is at most 65536 bytes");
  EXPECT_EQ(error_of(std::string(10000, '[')), "a failure record is nested deeper than 32 levels");
}

TEST(Outcome, OfADrainNamesWhatWasCut) {
  Outcome outcome;
  outcome.requested = "error";
  outcome.outcome = "deadline";
  outcome.duration_ms = 30012;
  outcome.completed = 7;
  outcome.crossed = 1;
  outcome.cut = {{"GET /hang", 30500}};
  EXPECT_EQ(encode_drain(outcome),
            R"({"requested":"error","outcome":"deadline","duration_ms":30012,"completed":7,)"
            R"("crossed":1,"cut":[{"label":"GET /hang","age_ms":30500}]})");
  outcome.cut[0].stack = {{"spin", "", 0, "", 1, false}};
  EXPECT_NE(encode_drain(outcome).find(
                R"("age_ms":30500,"stack":[{"function":"spin","file":null,"line":null,"module":null,)"),
            std::string::npos);
}

TEST(Outcome, WithoutADrainStillNamesWhatDied) {
  Outcome outcome;
  outcome.cut = {{"GET /crash", 3}};
  EXPECT_EQ(encode_drain(outcome), R"({"requested":null,"outcome":null,"duration_ms":null,"completed":null,)"
                                   R"("crossed":0,"cut":[{"label":"GET /crash","age_ms":3}]})");
}

TEST(Outcome, OfAProcessIsACodeOrASignal) {
  Outcome outcome;
  outcome.exit_code = 1;
  EXPECT_EQ(encode_exit(outcome), R"({"code":1,"signal":null,"core":false,"core_file":null})");
  outcome = {};
  outcome.exit_signal = 11;
  outcome.core = true;
  outcome.core_file = "/var/crash/core.7";
  EXPECT_EQ(encode_exit(outcome), R"({"code":null,"signal":11,"core":true,"core_file":"/var/crash/core.7"})");
}

}  // namespace
}  // namespace refork::proto
