#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "store/sqlite.h"

namespace refork::store {

// What takes a database from one version to the next: SQL statements, in which @ stands for the schema's
// name.
using Migration = std::span<const char* const>;

// The migrations of refork.db in order: the first takes an empty file (user_version 0) to version 1. Released
// ones are never changed, only followed by others.
std::span<const Migration> migrations();

enum class Migrated {
  yes,
  newer,
  failed
};

// Brings `schema` to the version that `steps` end in, in one transaction, or leaves it as it is. `newer`: it
// has a version beyond them and nothing was touched; `failed`: ask the connection why.
Migrated migrate(Connection& connection, const std::string& schema, std::span<const Migration> steps);

}  // namespace refork::store
