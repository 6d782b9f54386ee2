#include <gtest/gtest.h>

#include <string>

#include "proto/messages.h"

namespace refork::proto {
namespace {

std::string error_of(std::string_view packet) {
  const auto message = decode(packet);
  return message ? "none" : message.error().what;
}

template <class T>
T decoded(std::string_view packet) {
  auto message = decode(packet);
  EXPECT_TRUE(message) << message.error().what;
  return std::get<T>(*message);
}

std::string app(const std::string& body) { return "{\"m\":\"message\",\"body\":" + body + "}"; }
std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

TEST(Codec, EveryMessageSurvivesTheWay) {
  const auto round = [](const Message& message) {
    const std::string packet = encode(message);
    const auto back = decode(packet);
    ASSERT_TRUE(back) << packet << ": " << back.error().what;
    EXPECT_EQ(type_of(*back), type_of(message));
    EXPECT_EQ(encode(*back), packet);
    EXPECT_LE(packet.size(), spec(type_of(message)).max_size);
  };
  round(Hello{1, 7, "0.1.0"});
  round(Welcome{1, std::string(63, 's'), 4294967295u, 18446744073709551615u, 4294967295u, 30000, 1000,
                4294967295u, 4294967295u});
  round(Ready{});
  round(FailureNote{std::string(64, 'i'), Then::serve});
  round(VerdictGiven{std::string(64, 'i'), Verdict::serve, 4294967295u});
  round(DrainOrder{DrainReason::recycle, 4294967295u});
  round(DrainBegun{DrainReason::operator_});
  round(Disconnect{true});
  round(Crash{true});
  round(Timeouts{});
  round(AppMessage{R"({"cache":["a",1.50,null]})"});
}

TEST(Codec, AWelcomeKeepsItsFields) {
  const auto welcome =
      decoded<Welcome>(encode(Welcome{1, "web", 3, 17, 2, 5000, 250, 10000, 700, Then::serve}));
  EXPECT_EQ(welcome.service, "web");
  EXPECT_EQ(welcome.slot, 3u);
  EXPECT_EQ(welcome.worker, 17u);
  EXPECT_EQ(welcome.generation, 2u);
  EXPECT_EQ(welcome.drain_deadline_ms, 5000u);
  EXPECT_EQ(welcome.lame_duck_ms, 250u);
  EXPECT_EQ(welcome.watchdog_ms, 10000u);
  EXPECT_EQ(welcome.request_timeout_ms, 700u);
  EXPECT_EQ(welcome.orphans, Then::serve);
}

TEST(Codec, FieldsOfALaterVersionAreIgnored) {
  EXPECT_TRUE(decoded<Disconnect>(R"({"m":"disconnect","later":{"a":[1]},"deadline":true})").deadline);
}

TEST(Codec, AnUnknownMessageIsNamedInTheError) {
  EXPECT_EQ(error_of(R"({"m":"helo"})"), "there is no message \"helo\"");
  EXPECT_EQ(error_of(R"({"m":"\u001b[2Jx"})"), "there is no message \"[2Jx\"");
  EXPECT_EQ(error_of(R"({"n":"hello"})"), "a message without a name: expected \"m\"");
  EXPECT_EQ(error_of(R"({"m":1})"), "a message without a name: expected \"m\"");
  EXPECT_EQ(error_of(R"([1])"), "a message is a JSON object");
}

TEST(Codec, AMissingOrWrongFieldIsNamedWithWhatWasExpected) {
  EXPECT_EQ(error_of(R"({"m":"failure","id":"1-1"})"), "\"failure\" has no \"then\"");
  EXPECT_EQ(error_of(R"({"m":"failure","id":"1-1","then":"sleep"})"),
            "\"failure\" has a wrong \"then\": expected one of drain, serve");
  EXPECT_EQ(error_of(R"({"m":"disconnect","deadline":1})"),
            "\"disconnect\" has a wrong \"deadline\": expected true or false");
  EXPECT_EQ(error_of(R"({"m":"drain","reason":"error","deadline_ms":"9"})"),
            "\"drain\" has a wrong \"deadline_ms\": expected a whole number from 0 to 4294967295");
}

TEST(Codec, NumbersAreWholeAndFitTheirField) {
  const auto drain = [](const std::string& ms) {
    return error_of(R"({"m":"drain","reason":"error","deadline_ms":)" + ms + "}");
  };
  EXPECT_EQ(drain("0"), "none");
  EXPECT_EQ(drain("4294967295"), "none");
  for (const char* bad : {"4294967296", "-1", "1.0", "1e3", "null", "99999999999999999999999"})
    EXPECT_NE(drain(bad), "none");
}

TEST(Codec, AnIdHasItsAlphabetAndLength) {
  const auto failure = [](const std::string& id) {
    return error_of(R"({"m":"failure","then":"drain","id":")" + id + "\"}");
  };
  EXPECT_EQ(failure(std::string(64, 'a')), "none");
  EXPECT_NE(failure(std::string(65, 'a')), "none");
  EXPECT_NE(failure(""), "none");
  EXPECT_NE(failure("../x"), "none");
}

TEST(Codec, HelloTakesARangeOfVersionsOnly) {
  EXPECT_EQ(error_of(R"({"m":"hello","protocol_min":1,"protocol_max":1,"library":""})"), "none");
  EXPECT_EQ(error_of(R"({"m":"hello","protocol_min":2,"protocol_max":1,"library":""})"),
            "\"hello\" has a wrong \"protocol_max\": expected at least protocol_min");
}

TEST(Codec, TextThatIsNoJsonIsRefusedWithItsPlace) {
  EXPECT_EQ(error_of(R"({"m":})"), "a message is not valid JSON, at byte 6");
  for (const std::string bad :
       {"", " ", "{", R"({"m":"ready"} x)", R"({"m":"ready"}{"m":"ready"})", R"({"m":"ready",})",
        R"({'m':'ready'})", "{\"m\":\"ready\" /* */}", "\xEF\xBB\xBF{\"m\":\"ready\"}"})
    EXPECT_NE(error_of(bad).find("is not valid JSON"), std::string::npos) << bad;
}

TEST(Codec, NothingHidesBehindANul) {
  const std::string packet("{\"m\":\"ready\"}\0garbage", 21);
  EXPECT_EQ(error_of(packet), "a message is not valid JSON, at byte 14");
}

TEST(Codec, BytesThatAreNoUtf8AreRefused) {
  EXPECT_NE(error_of("{\"m\":\"hello\",\"protocol_min\":1,\"protocol_max\":1,\"library\":\"\xFF\"}"), "none");
  EXPECT_NE(error_of(app("\"\xC0\x80\"")), "none");
  EXPECT_NE(error_of(app("\"\\ud800\"")), "none");
}

TEST(Codec, NestingIsBoundedBeforeItIsParsed) {
  EXPECT_EQ(error_of(app(nested(31))), "none");
  EXPECT_EQ(error_of(app(nested(32))), "a message is nested deeper than 32 levels");
  EXPECT_EQ(error_of(std::string(60000, '[')), "a message is nested deeper than 32 levels");
  EXPECT_EQ(error_of(app("\"" + std::string(100, '[') + "\"")), "none")
      << "brackets in a string are no nesting";
  EXPECT_EQ(error_of(app("\"\\\"" + std::string(100, '{') + "\"")), "none") << "nor after an escaped quote";
}

TEST(Codec, EachMessageKeepsToItsSize) {
  const std::string ready = R"({"m":"ready"})";
  const auto padded = [&](std::size_t size) { return ready + std::string(size - ready.size(), ' '); };
  EXPECT_EQ(error_of(padded(256)), "none");
  EXPECT_EQ(error_of(padded(257)), "\"ready\" is at most 256 bytes");
  EXPECT_EQ(error_of(padded(max_packet + 1)), "a message is at most 65536 bytes");
}

TEST(AppMessage, IsPassedOnCharacterByCharacter) {
  for (const std::string body : {R"({"a":1.50,"b":12345678901234567890123,"c":1E2})", "null", "0",
                                 "\"\\u00e4,}\"", "[]", "{ \"body\" : 1 }", R"({"x":{"body":2}})"})
    EXPECT_EQ(decoded<AppMessage>(encode(AppMessage{body})).body, body);
  EXPECT_EQ(decoded<AppMessage>(R"({ "x" : {"body":1} , "body" :  [1, 2]  , "m":"message" })").body,
            "[1, 2]");
}

TEST(AppMessage, OfSeveralBodiesTheLastCounts) {
  EXPECT_EQ(decoded<AppMessage>(R"({"m":"message","body":1,"body":2})").body, "2");
}

TEST(AppMessage, IsFoundBehindAnEscapedName) {
  EXPECT_EQ(decoded<AppMessage>(R"({"m":"message","b\u006fdy":[1]})").body, "[1]");
}

TEST(AppMessage, NeedsABody) { EXPECT_EQ(error_of(R"({"m":"message"})"), "\"message\" has no \"body\""); }

TEST(AppMessage, CannotSmuggleFieldsIntoTheMessage) {
  EXPECT_EQ(encode(AppMessage{R"(1,"m":"ready")"}), app("null"));
  EXPECT_EQ(encode(AppMessage{""}), app("null"));
}

TEST(AppMessage, KeepsToItsSizeAndDepthOnBothWays) {
  const auto text = [](std::size_t size) { return "\"" + std::string(size - 2, 'x') + "\""; };
  EXPECT_TRUE(check_app_body(text(max_app_message)));
  EXPECT_EQ(check_app_body(text(max_app_message + 1)).error().code, EMSGSIZE);
  EXPECT_EQ(error_of(app(text(max_app_message))), "none");
  EXPECT_EQ(error_of(app(text(max_app_message + 1))), "the body of a \"message\" is larger than 61440 bytes");
  EXPECT_TRUE(check_app_body(nested(31)));
  EXPECT_FALSE(check_app_body(nested(32)));
  EXPECT_EQ(check_app_body("{bad").error().what, "an application message is not valid JSON, at byte 2");
}

}  // namespace
}  // namespace refork::proto
