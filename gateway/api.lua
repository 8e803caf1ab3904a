-- What the transcoder cannot do with the requests below /api, before it sees them, and with their answers, after it.
--
-- Needs json_fields.lua before it, and these tables, which are generated from the descriptors:
-- ROUTES, the most special first: {method = , pattern = , body = kind of the body, absent where there is none,
--   stream = true where messages are streamed, enums = {query parameter = enum}};
-- ENUMS[enum][short name] = name: the names without the enum's prefix, in upper case.

local STREAM = "stream" -- dynamic metadata: the answer is a stream of messages
local REFUSED = "refused" -- dynamic metadata: local_reply_config leaves this answer as it is
local NAMESPACE = "splitrail"
local CODES = {[400] = 3, [405] = 12} -- google.rpc.Code
local TYPE = "type.googleapis.com/google.rpc."

local function quoted(text)
  return '"' .. string.gsub(text, '["\\]', "\\%0") .. '"'
end

local function mark(handle, key)
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, key, true)
end

-- Answers as the services do. `reason`: of ErrorInfo; `fault`: of json_fields.lua, or nil.
local function respond(handle, status, reason, message, fault, headers)
  local details = '{"@type":"' .. TYPE .. 'ErrorInfo","reason":' .. quoted(reason) .. ',"domain":"splitrail","metadata":{}}'
  if fault and fault.field ~= "" then
    details = details .. ',{"@type":"' .. TYPE .. 'BadRequest","fieldViolations":[{"field":' .. quoted(fault.field)
      .. ',"description":' .. quoted(fault.description) .. "}]}"
  end
  headers[":status"] = tostring(status)
  headers["content-type"] = "application/json"
  mark(handle, REFUSED)
  handle:respond(headers, '{"code":' .. CODES[status] .. ',"message":' .. quoted(message) .. ',"details":[' .. details .. "]}")
end

-- The route of a request, and the methods that its path has.
local function route_of(method, path)
  local methods = {}
  for _, route in ipairs(ROUTES) do
    if string.find(path, route.pattern) then
      if route.method == method then return route, methods end
      methods[#methods + 1] = route.method
    end
  end
  return nil, methods
end

-- `split=test` for `split=PART_TEST`: values of enums by their short names, in any case.
local function with_whole_names(query, enums)
  return (string.gsub(query, "([^&=]+)=([^&]*)", function(name, value)
    local enum = enums[name]
    local whole = enum and ENUMS[enum][string.upper(value)]
    return whole and name .. "=" .. whole or nil
  end))
end

local function check_body(handle, kind)
  local buffer = handle:body(true)
  local length = buffer:length()
  if length == 0 then return end
  local fault = fault_of(buffer:getBytes(0, length), kind)
  if fault then
    respond(handle, 400, "INVALID_FIELD", (fault.field == "" and "the body" or fault.field) .. " " .. fault.description, fault, {})
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = string.match(headers:get(":path"), "^([^?]*)%??(.*)$")
  if string.sub(path, 1, 5) ~= "/api/" or string.find(headers:get("content-type") or "", "^application/grpc") then return end
  local method = headers:get(":method")
  local route, methods = route_of(method, path)
  if not route then
    if #methods > 0 then
      local allowed = table.concat(methods, ", ")
      respond(handle, 405, "METHOD_NOT_ALLOWED", method .. " is not a method of this path: " .. allowed, nil, {allow = allowed})
    end
    return -- no such path: the route answers
  end
  if route.stream then mark(handle, STREAM) end
  if route.enums and query ~= "" then
    local rewritten = with_whole_names(query, route.enums)
    if rewritten ~= query then headers:replace(":path", path .. "?" .. rewritten) end
  end
  if route.body ~= nil then check_body(handle, route.body) end
end

-- The transcoder calls a stream of messages, one to a line, application/json.
function envoy_on_response(handle)
  local marks = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  if not marks or not marks[STREAM] then return end
  local headers = handle:headers()
  if headers:get(":status") == "200" and headers:get("content-type") == "application/json" then
    headers:replace("content-type", "application/x-ndjson")
  end
end
