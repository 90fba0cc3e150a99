-- Checks query and JSON body of a REST request before it is transcoded.
--
-- The transcoder drops fields that it does not know and answers wrong values without
-- naming the field; a query parameter would even win over the path. This filter names them, in the error shape of every service:
-- google.rpc.Status with ErrorInfo and BadRequest.

local schema = require("request_schema")

local find, sub, byte, char = string.find, string.sub, string.byte, string.char
local DEEPEST = 64

local check = {}

local function fail(field, description, reason)
  error({field = field, description = description, reason = reason}, 0)
end

local function skip(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local function malformed(at, path)
  fail(path, "is not valid JSON: see byte " .. at, "json.malformed")
end

-- Returns the position after the string that begins at `at`, and whether it is a plain one.
local function string_end(text, at, path)
  local from = at + 1
  while true do
    local stop = find(text, '["\\%c]', from)
    if not stop then malformed(#text, path) end
    local c = byte(text, stop)
    if c == 34 then return stop + 1 end
    if c ~= 92 then malformed(stop, path) end
    local escaped = sub(text, stop + 1, stop + 1)
    if escaped == "u" then
      if not find(text, "^%x%x%x%x", stop + 2) then malformed(stop, path) end
      from = stop + 6
    elseif find(escaped, '["\\/bfnrt]') then
      from = stop + 2
    else
      malformed(stop, path)
    end
  end
end

-- Field names have only ASCII letters, so the only escapes worth decoding are of those.
local function name_of(text, from, to)
  local raw = sub(text, from + 1, to - 2)
  if not find(raw, "\\", 1, true) then return raw end
  return (raw:gsub("\\u00(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local NAMES = {
  string = "a string", boolean = "true or false",
  number = "a number", object = "an object", array = "a list", enum = "a name of the enum",
  timestamp = 'an RFC 3339 time such as "2030-01-31T10:30:00Z"',
  duration = 'a duration such as "3.5s"',
}

-- The whole numbers by kind; of 64 bits only the sign is certain, as Lua's numbers are doubles.
local WHOLE = {
  int32 = {-2147483648, 2147483647}, uint32 = {0, 4294967295},
  int64 = {-2 ^ 63, 2 ^ 63}, uint64 = {0, 2 ^ 64},
}
for kind, range in pairs(WHOLE) do
  local to = kind:sub(-2) == "32" and " to " .. string.format("%.0f", range[2]) or " on"
  NAMES[kind] = range[1] < 0 and "a whole number" or "a whole number from 0" .. to
end

local function is_whole(kind, number)
  local range = WHOLE[kind]
  return number ~= nil and number % 1 == 0 and range[1] <= number and number <= range[2]
end

local value

local function scalar_matches(kind, text, first, from, to)
  if kind == "any" then return true end
  if first == 34 then
    if kind == "string" or kind == "enum" then return true end
    local content = sub(text, from + 1, to - 2)
    if kind == "timestamp" then
      local hour, minute, rest = content:match(
        "^%d%d%d%d%-[01]%d%-[0-3]%d[Tt ]([012]%d):([0-5]%d):[0-6]%d(.*)$")
      return hour ~= nil and tonumber(hour) < 24 and minute ~= nil and
        (rest:gsub("^%.%d+", ""):match("^[Zz]$") or
         rest:gsub("^%.%d+", ""):match("^[+-][012]%d:[0-5]%d$")) ~= nil
    end
    if kind == "duration" then return content:match("^-?%d+%.?%d*s$") ~= nil end
    if WHOLE[kind] then
      return content:match("^-?%d+$") ~= nil and is_whole(kind, tonumber(content))
    end
    if kind == "number" then return tonumber(content) ~= nil end
    return false
  end
  if first == 116 or first == 102 then return kind == "boolean" end
  if kind == "number" then return true end
  return WHOLE[kind] ~= nil and is_whole(kind, tonumber(sub(text, from, to - 1)))
end

local function literal_end(text, at, path)
  for _, word in ipairs({"true", "false", "null"}) do
    if sub(text, at, at + #word - 1) == word then return at + #word end
  end
  local _, stop = find(text, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  if not stop then malformed(at, path) end
  return stop + 1
end

local function list(text, at, path, kind, depth)
  local index = 0
  at = skip(text, at + 1)
  if byte(text, at) == 93 then return at + 1 end
  while true do
    at = skip(text, value(text, at, path .. "[" .. index .. "]", kind, depth + 1))
    local c = byte(text, at)
    if c == 93 then return at + 1 end
    if c ~= 44 then malformed(at, path) end
    at = skip(text, at + 1)
    index = index + 1
  end
end

-- `fields` is a message's table; nil for free objects, whose values are of kind `all`.
local function object(text, at, path, fields, all, bound, depth)
  at = skip(text, at + 1)
  if byte(text, at) == 125 then return at + 1 end
  while true do
    if byte(text, at) ~= 34 then malformed(at, path) end
    local stop = string_end(text, at, path)
    local name = name_of(text, at, stop)
    local here
    if fields then
      here = path == "" and name or path .. "." .. name
    else
      here = path .. '["' .. name:sub(1, 64) .. '"]'
    end
    local kind = all
    if fields then
      kind = fields[name]
      if kind == nil then
        fail(here:sub(1, 256), "is not a field of this request: check its spelling", "field.unknown")
      end
      if bound and bound[name] then
        fail(here, "is given by the path: leave it out of the body", "field.bound")
      end
    end
    at = skip(text, stop)
    if byte(text, at) ~= 58 then malformed(at, here) end
    at = skip(text, value(text, skip(text, at + 1), here, kind, depth + 1))
    local c = byte(text, at)
    if c == 125 then return at + 1 end
    if c ~= 44 then malformed(at, path) end
    at = skip(text, at + 1)
  end
end

value = function(text, at, path, kind, depth)
  if depth > DEEPEST then fail(path, "is nested too deeply: at most 64 levels", "json.depth") end
  local c = byte(text, at)
  if c == nil then malformed(at, path) end
  local expected = type(kind) == "table" and (kind.list and "array" or "object") or kind
  if c == 110 then return literal_end(text, at, path) end -- null leaves a field unset
  if c == 123 then
    if expected ~= "object" and expected ~= "any" then
      fail(path, "must be " .. (NAMES[expected] or expected), "type")
    end
    local fields = type(kind) == "table" and kind.message and schema.types[kind.message] or nil
    local all = type(kind) == "table" and kind.map or "any"
    return object(text, at, path, fields, all, nil, depth)
  end
  if c == 91 then
    if expected ~= "array" and expected ~= "any" then
      fail(path, "must be " .. (NAMES[expected] or expected), "type")
    end
    return list(text, at, path, type(kind) == "table" and kind.list or "any", depth)
  end
  local stop = c == 34 and string_end(text, at, path) or literal_end(text, at, path)
  if not scalar_matches(expected, text, c, at, stop) then
    fail(path, "must be " .. (NAMES[expected] or expected), "type")
  end
  return stop
end

-- Raises a table with field, description and reason for a body that is not of the type.
local function body(text, route)
  local at = skip(text, 1)
  if at > #text then return end -- an empty body is an empty message
  if byte(text, at) ~= 123 then fail("", "the body must be a JSON object", "type") end
  local bound = route.is_whole and route.bound or nil
  at = object(text, at, "", schema.types[route.message], nil, bound, 1)
  if skip(text, at) <= #text then malformed(at, "") end
end

local function unescaped(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

-- Raises a table with field, description and reason for parameters that are not of the call.
local function query(text, route)
  for pair in text:gmatch("[^&]+") do
    local name, given = pair:match("^([^=]*)=?(.*)$")
    name, given = unescaped(name), unescaped(given)
    if route.bound[name] then
      fail(name, "is given by the path: leave it out of the query", "field.bound")
    end
    local kind = route.query[name] or route.query[name:match("^[^.]*")] == "any" and "any"
    if not kind then
      fail(name:sub(1, 256), "is not a parameter of this call: check its spelling", "field.unknown")
    end
    local is_right = true
    if WHOLE[kind] then
      is_right = given:match("^-?%d+$") ~= nil and is_whole(kind, tonumber(given))
    end
    if kind == "number" then is_right = tonumber(given) ~= nil end
    if kind == "boolean" then is_right = given == "true" or given == "false" end
    if not is_right then fail(name, "must be " .. NAMES[kind], "type") end
  end
end

local function route_of(verb, path)
  for _, route in ipairs(schema.routes) do
    if route.verb == verb and find(path, route.pattern) then return route end
  end
end

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\"}
local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return ESCAPES[c] or ("\\u%04x"):format(byte(c))
  end):gsub("[\128-\255]", "?") .. '"'
end

local function answer(handle, wrong, request_id)
  local shown = wrong.field ~= "" and wrong.field .. ": " .. wrong.description or wrong.description
  handle:respond({[":status"] = "400", ["content-type"] = "application/json"}, table.concat({
    '{"code":3,"message":', quoted(shown), ',"details":[',
    '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"INVALID_ARGUMENT",',
    '"domain":"clarion","metadata":{"request_id":', quoted(request_id), '}},',
    '{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":',
    quoted(wrong.field), ',"description":', quoted(wrong.description), ',"reason":',
    quoted(wrong.reason), '}]}]}',
  }))
end

-- Runs a check; answers and returns true when it found something.
local function refused(handle, request_id, checks, text, route)
  local fine, wrong = pcall(checks, text, route)
  if fine then return false end
  if type(wrong) ~= "table" then
    handle:logErr("request check failed: " .. tostring(wrong))
    return false
  end
  -- Tells the edge's error format that this answer has the shape already.
  handle:headers():replace("x-clarion-refused", "1")
  answer(handle, wrong, request_id)
  return true
end

-- EventSource cannot set headers: a watch may carry its credential in the query instead.
local function take_access_token(headers, path)
  if headers:get("authorization") or not find(path, ":watch?", 1, true) then return end
  local token = path:match("[?&]access_token=([%w%-%._~]+)")
  if not token then return end
  headers:replace("authorization", "Bearer " .. token)
  local rest = path:gsub("([?&])access_token=[^&]*&?", "%1"):gsub("[?&]$", "")
  headers:replace(":path", rest)
end

function check.on_request(handle)
  local headers = handle:headers()
  local kind = headers:get("content-type") or ""
  if find(kind, "^application/grpc") then return end
  local path = headers:get(":path")
  take_access_token(headers, path)
  path = path:match("^[^?]*")
  -- Several channels serve the same rpc; the transcoded path does not say which.
  headers:remove("x-clarion-refused")
  local channel = path:match("^/webhooks/([%w_]+)/") or path:match("^/api/v1/channels/([%w_]+)/")
  if channel then headers:replace("x-clarion-channel", channel) end

  local route = route_of(headers:get(":method"), path)
  if not route then return end
  local request_id = headers:get("x-request-id") or ""
  local asked = headers:get(":path"):match("%?(.*)$")
  if asked and refused(handle, request_id, query, asked, route) then return end
  if not route.message then return end
  -- Waits for the whole body; after that the headers may not be touched any more.
  local buffer = handle:body()
  if buffer then
    refused(handle, request_id, body, buffer:getBytes(0, buffer:length()), route)
  end
end

check.body = body
check.query = query
check.route_of = route_of
return check
