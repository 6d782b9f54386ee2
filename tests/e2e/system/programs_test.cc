// Programs of Debian that do not link librefork, supervised.
#include <gmock/gmock.h>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::AnyOfArray;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

class Unlinked : public Installed {
 protected:
  void expect_supervised(const std::string& pattern) {
    EXPECT_THAT(http_get(kWeb, "/").status, 200);
    const auto before = pids();
    machine_.output({"kill", "-KILL", std::to_string(before.at(0))});
    ASSERT_TRUE(wait_for_failures(1));
    EXPECT_EQ(failures()[0]["kind"], "signal");
    ASSERT_TRUE(wait_until_settled());
    EXPECT_EQ(http_get(kWeb, "/").status, 200);
    Load load(Unlinked::load());
    ASSERT_TRUE(wait_until([&] { return load.ok() > 100; }));
    machine_.output({"reforkctl", "reload", "web"});
    const LoadResult result = load.stop();
    EXPECT_EQ(result.bystanders.refused, 0U) << result.summary();
    ASSERT_TRUE(wait_until_settled());
    EXPECT_THAT(pids(), Each(Not(AnyOfArray(before))));
    machine_.output({"systemctl", "stop", "reforkd"});
    EXPECT_EQ(machine_.run({"pgrep", "-f", pattern}).code, 1) << "a process was left";
  }
};

TEST_F(Unlinked, GunicornIsStartedWhenItSaysReadyAndDrainsBySigterm) {
  machine_.write("/srv/app/app.py",
                 "def app(environ, start_response):\n"
                 "    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '2')])\n"
                 "    return [b'ok']\n");
  serve({{"web",
          {{"command", {"/usr/bin/gunicorn", "--chdir", "/srv/app", "app:app"}},
           {"workers", 2},
           {"ready", "notify"},
           {"listen", {kWeb.text()}},
           {"nonblocking", true},
           {"user", "www-data"}}}});
  expect_supervised("gunicorn");
}

TEST_F(Unlinked, NginxIsKeptRunning) {
  machine_.write(
      "/etc/refork/nginx.conf",
      "daemon off;\npid /run/refork-nginx.pid;\nerror_log stderr;\nevents {}\n"
      "http { access_log off; server { listen 127.0.0.1:8080; location / { return 200 ok; } } }\n");
  serve({{"web",
          {{"command", {"/usr/sbin/nginx", "-c", "/etc/refork/nginx.conf"}},
           {"workers", 1},
           {"ready", "exec"}}}});
  ASSERT_TRUE(wait_until([] { return http_get(kWeb, "/").status == 200; }));
  machine_.output({"kill", "-KILL", std::to_string(pids().at(0))});
  ASSERT_TRUE(wait_for_failures(1));
  ASSERT_TRUE(wait_until([] { return http_get(kWeb, "/").status == 200; }));
  machine_.output({"systemctl", "stop", "reforkd"});
  EXPECT_EQ(machine_.run({"pgrep", "nginx"}).code, 1) << "a process was left";
}

}  // namespace
}  // namespace refork::test
