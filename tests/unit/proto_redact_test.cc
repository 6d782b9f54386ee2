// What is hidden in a record, and what is not.
#include "proto/redact.h"

#include <gtest/gtest.h>

namespace refork::proto {
namespace {

TEST(Redact, HidesTheQueryOfALabel) {
  const Redactor usual;
  EXPECT_EQ(usual.label("GET /search?q=7&user=bob"), "GET /search?[redacted]");
  EXPECT_EQ(usual.label("GET /search?q=7 HTTP/1.1"), "GET /search?[redacted] HTTP/1.1");
  EXPECT_EQ(usual.label("GET /search"), "GET /search");
  EXPECT_EQ(usual.label("is it? yes"), "is it? yes");
}

TEST(Redact, AnApplicationMayShowItsQueriesButNotItsSecrets) {
  const Redactor shows = Redactor().showing_query();
  EXPECT_EQ(shows.label("GET /search?q=7"), "GET /search?q=7");
  EXPECT_EQ(shows.label("GET /search?token=7&q=8"), "GET /search?token=[redacted]&q=8");
}

TEST(Redact, HidesKeysThatAreOrEndInAName) {
  const Redactor usual;
  for (const char* key : {"password", "PASSWORD", "db_password", "dbPassword", "Authorization",
                          "Proxy-Authorization", "Set-Cookie", "X-Api-Key", "apiKey", "APIKey", "apikey",
                          "refreshToken", "X-Auth-Token", "user.secret", "csrf_token"})
    EXPECT_TRUE(usual.hides_key(key)) << key;
  for (const char* key : {"", "user", "passwords", "mypassword2", "tokenizer", "notoken", "secretary",
                          "query", "keypad", "cookies_seen"})
    EXPECT_FALSE(usual.hides_key(key)) << key;
}

TEST(Redact, HidesWhatFollowsANameInsideAText) {
  const Redactor usual;
  const auto expect = [&](const char* text, const char* hidden) { EXPECT_EQ(usual.text(text), hidden); };
  expect("user=bob password=hunter2 port=5432", "user=bob password=[redacted] port=5432");
  expect("a=1&token=abc&b=2", "a=1&token=[redacted]&b=2");
  expect("Authorization: Bearer abc.def", "Authorization: [redacted]");
  expect("authorization=Bearer abc.def", "authorization=[redacted]");
  expect("token=Bearer abc next", "token=[redacted] next");
  expect("Cookie: a=1; b=2\nHost: x", "Cookie: [redacted]\nHost: x");
  expect(R"({"user": "bob", "password": "a\"b", "n": 1})",
         R"({"user": "bob", "password": "[redacted]", "n": 1})");
  expect("password='two words' x", "password='[redacted]' x");
  expect("password = hunter2", "password = [redacted]");
  expect("no secret here", "no secret here");
  expect("password=", "password=");
  expect("secret:", "secret:");
  expect("password=\"unclosed", "password=\"[redacted]");
  expect(R"("password": "a\\", "n": 1)", R"("password": "[redacted]", "n": 1)");
  expect(R"({"body": "{\"token\": \"a\\\"b\", \"n\": 1}"})",
         R"({"body": "{\"token\": \"[redacted]\", \"n\": 1}"})");
  expect(R"(\"token\": \"\", \"n\": \"1\")", R"(\"token\": \"\", \"n\": \"1\")");
}

TEST(Redact, TakesNoLongerThanATextIsLong) {
  std::string text;
  while (text.size() < (1 << 19)) text += "a:";  // by the square of it, this would take minutes
  EXPECT_EQ(Redactor().text(text), text);
}

TEST(Redact, TwiceIsAsOnce) {
  const Redactor usual;
  for (const char* text : {"GET /a?token=1", "token=abc&x=1", "Cookie: a=1; b=2", R"("password": "x")",
                           "password='x'", "token=token=token", "Authorization=Basic abc"}) {
    const std::string once = usual.label(text);
    EXPECT_EQ(usual.label(once), once);
  }
}

TEST(Redact, GivenNamesReplaceTheUsualOnes) {
  const Redactor own(std::vector<std::string>{"order"});
  EXPECT_EQ(own.label("GET /a?order=7&token=8"), "GET /a?order=[redacted]&token=8");
  EXPECT_FALSE(own.hides_key("password"));
  const Redactor none(std::vector<std::string>{});
  EXPECT_EQ(none.label("GET /a?token=8"), "GET /a?token=8");
  const Redactor query(std::vector<std::string>{"Query"});
  EXPECT_EQ(query.label("GET /a?token=8"), "GET /a?[redacted]");
}

TEST(Redact, ARecordIsHiddenInItsLabelsContextAndOutputAlone) {
  FailureRecord record;
  record.message = "bad token=abc";
  record.request = RequestRef{"GET /a?b=c", 3};
  record.context = {{"session_token", "abc"}, {"url", "/x?password=abc"}, {"user", "bob"}};
  record.threads = {{7, "web", "GET /a?b=c", {}}};
  record.output_tail = "user bob\nAuthorization: Bearer abc\n";
  Redactor().apply(record);
  EXPECT_EQ(record.threads[0].request, "GET /a?[redacted]");
  EXPECT_EQ(record.output_tail, "user bob\nAuthorization: [redacted]\n");
  EXPECT_EQ(record.message, "bad token=abc");
  EXPECT_EQ(record.request->label, "GET /a?[redacted]");
  EXPECT_EQ(record.context[0].second, "[redacted]");
  EXPECT_EQ(record.context[1].second, "/x?password=[redacted]");
  EXPECT_EQ(record.context[2].second, "bob");
  Outcome outcome;
  outcome.cut = {{"GET /hang?b=c", 1}};
  Redactor().apply(outcome);
  EXPECT_EQ(outcome.cut[0].label, "GET /hang?[redacted]");
}

}  // namespace
}  // namespace refork::proto
