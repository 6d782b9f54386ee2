// The reader: what is JSON, and where everything in it stands.
#include "config/json_reader.h"

#include <gtest/gtest.h>

namespace refork::config {
namespace {

std::string error_of(std::string_view text) {
  const Document document = read_json(text);
  if (!document.error) return "";
  return std::to_string(document.error->at.line) + ":" + std::to_string(document.error->at.column) + ": " +
         document.error->what;
}

std::string where(const Value& value) {
  return std::to_string(value.at.line) + ":" + std::to_string(value.at.column);
}

std::string where(const Value::Member& member) {
  return std::to_string(member.at.line) + ":" + std::to_string(member.at.column);
}

TEST(JsonReader, EveryKindOfValueKnowsWhereItStands) {
  const Document document = read_json(
      "{ \"a\": [1, -2.5,\n"
      "    true , null],\n"
      "  \"b\" : \"x\" }");
  ASSERT_FALSE(document.error);
  const Value& a = *document.root.find("a");
  EXPECT_EQ(where(document.root), "1:1");
  EXPECT_EQ(where(document.root.members[0]), "1:3");
  EXPECT_EQ(where(a), "1:8");
  EXPECT_EQ(where(a.items[0]), "1:9");
  EXPECT_EQ(where(a.items[1]), "1:12");
  EXPECT_EQ(where(a.items[2]), "2:5");
  EXPECT_EQ(where(a.items[3]), "2:12");
  EXPECT_EQ(where(document.root.members[1]), "3:3");
  EXPECT_EQ(where(*document.root.find("b")), "3:9");
}

TEST(JsonReader, CommentsAndPunctuationInStringsDoNotMoveThePosition) {
  const Document document = read_json(
      "// one, two: [three]\n"
      "{ /* \"a\": 1,\n */ \"k\\\"//,:{\" /* , */ : // :\n"
      "  4 /**/, \"l\": 5 }\n");
  ASSERT_FALSE(document.error) << document.error->what;
  ASSERT_EQ(document.root.members.size(), 2U);
  EXPECT_EQ(document.root.members[0].key, "k\"//,:{");
  EXPECT_EQ(where(document.root.members[0]), "3:5");
  EXPECT_EQ(where(document.root.members[0].value), "4:3");
  EXPECT_EQ(where(document.root.members[1]), "4:11");
  EXPECT_EQ(where(document.root.members[1].value), "4:16");
}

TEST(JsonReader, ANumberDirectlyBeforeACommentEndsThere) {
  const Document document = read_json("[1/* one */,2// two\n,3]");
  ASSERT_FALSE(document.error);
  EXPECT_EQ(where(document.root.items[1]), "1:13");
  EXPECT_EQ(where(document.root.items[2]), "2:2");
}

TEST(JsonReader, ColumnsCountCharactersNotBytes) {
  EXPECT_EQ(where(read_json("[\"\xC3\xA4\xE2\x82\xAC\", 1]").root.items[1]), "1:8");
}

TEST(JsonReader, AByteOrderMarkIsNoColumn) {
  const Document document = read_json("\xEF\xBB\xBF{}");
  EXPECT_FALSE(document.error);
  EXPECT_EQ(where(document.root), "1:1");
}

TEST(JsonReader, AWholeNumberIsAnIntegerHoweverItIsWritten) {
  const Document document = read_json("[4, 4.0, 4.5, 9223372036854775807, 9223372036854775808]");
  ASSERT_FALSE(document.error);
  EXPECT_EQ(document.root.items[0].integer, 4);
  EXPECT_EQ(document.root.items[1].integer, 4);
  EXPECT_EQ(document.root.items[1].kind, Value::Kind::integer);
  EXPECT_EQ(document.root.items[2].kind, Value::Kind::number);
  EXPECT_EQ(document.root.items[3].integer, 9223372036854775807);
  EXPECT_EQ(document.root.items[4].kind, Value::Kind::number);
}

TEST(JsonReader, ASyntaxErrorSaysWhereAndWhatWasExpected) {
  EXPECT_EQ(error_of(""), "1:1: expected '{', found the end of the file");
  EXPECT_EQ(error_of("// nothing\n"), "2:1: expected '{', found the end of the file");
  EXPECT_EQ(error_of("services: 1"), "1:1: expected '{', found \"services\"");
  EXPECT_EQ(error_of("{services: 1}"), "1:2: expected a key in double quotes or '}', found \"services\"");
  EXPECT_EQ(error_of("{\"a\" 1}"), "1:6: expected ':' after the key, found \"1\"");
  EXPECT_EQ(error_of("{\"a\": }"), "1:7: expected a value after ':', found '}'");
  EXPECT_EQ(error_of("{\"a\": yes}"), "1:7: expected a value after ':', found \"yes\"");
  EXPECT_EQ(error_of("{\"a\": 1\n \"b\": 2}"), "2:2: expected ',' or '}', found \"b\"");
  EXPECT_EQ(error_of("{\"a\": 1,\n}"), "2:1: expected a key in double quotes after ',', found '}'");
  EXPECT_EQ(error_of("{\"a\": 1, 2}"), "1:10: expected a key in double quotes after ',', found \"2\"");
  EXPECT_EQ(error_of("{\"a\" : : 1}"), "1:8: expected a value after ':', found ':'");
  EXPECT_EQ(error_of("[1 2]"), "1:4: expected ',' or ']', found \"2\"");
  EXPECT_EQ(error_of("[1, ]"), "1:5: expected a value after ',', found ']'");
  EXPECT_EQ(error_of("[,1]"), "1:2: expected a value or ']', found ','");
  EXPECT_EQ(error_of("[[1], {}"), "1:9: expected ',' or ']', found the end of the file");
  EXPECT_EQ(error_of("{} {}"), "1:4: expected the end of the file, found '{'");
}

TEST(JsonReader, AMalformedTokenIsToldAsWhatItIs) {
  EXPECT_EQ(error_of("{\"a: 1,\n\"b\": 2}"), "1:2: expected a closing '\"' on the same line");
  EXPECT_EQ(error_of("[\"a"), "1:2: expected a closing '\"' on the same line");
  EXPECT_EQ(error_of("[\n /* open"), "2:2: invalid comment; missing closing '*/'");
  EXPECT_EQ(error_of("[1e999]"), "1:2: expected a smaller number, found \"1e999\"");
  EXPECT_EQ(error_of("[\"\xFF\"]"), "1:2: invalid string: ill-formed UTF-8 byte");
  EXPECT_EQ(error_of("[-]").substr(0, 19), "1:2: invalid number");
}

TEST(JsonReader, NothingIsHiddenBehindANulCharacter) {
  using namespace std::string_view_literals;
  EXPECT_EQ(error_of("{}\0 x"sv), "1:3: expected the end of the file, found a NUL character");
  EXPECT_EQ(error_of("{\0}"sv), "1:2: expected a key in double quotes or '}', found a NUL character");
}

TEST(JsonReader, NestingIsAllowedUpToItsLimitAndNoFurther) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(error_of(nested(max_depth)), "");
  EXPECT_EQ(error_of(nested(max_depth + 1)), "1:33: expected at most 32 lists and objects in one another");
  EXPECT_NE(error_of(std::string(1'000'000, '[')), "");
}

TEST(JsonReader, ALongTextIsShortenedBetweenCharacters) {
  std::string umlauts = "x";
  for (int i = 0; i < 100; ++i) umlauts += "\xC3\xA4";
  const std::string shown = in_quotes(umlauts);
  EXPECT_EQ(shown.size(), 1 + 61 + 4U);
  EXPECT_EQ(shown.substr(shown.size() - 6), "\xC3\xA4...\"");
  EXPECT_EQ(in_quotes("a\nb"), "\"a?b\"");
}

}  // namespace
}  // namespace refork::config
