"""GraphQL of Shopify's Admin API.

One query may cost at most 1,000 points (https://shopify.dev/docs/api/usage/limits). A bulk
operation allows no connection inside of a list, so the lines of refunds are read afterwards.
"""

CHECK = """
query Check {
  shop { name currencyCode ianaTimezone myshopifyDomain }
  currentAppInstallation { accessScopes { handle } }
}
"""

_ORDER = """
id name createdAt processedAt updatedAt cancelledAt test displayFinancialStatus sourceName
discountCodes email phone currencyCode
customer { id }
refunds(first: 1) { id }
"""
_LINE = """
id name sku quantity
variant { id }
originalTotalSet { shopMoney { amount currencyCode } }
discountAllocations { allocatedAmountSet { shopMoney { amount } } }
"""
_CUSTOMER = """
id firstName lastName createdAt updatedAt locale
defaultEmailAddress { emailAddress marketingState }
defaultPhoneNumber { phoneNumber marketingState }
defaultAddress { city countryCodeV2 }
"""
_PRODUCT = """
id title handle productType vendor status isGiftCard updatedAt onlineStoreUrl
featuredMedia { preview { image { url } } }
"""
_VARIANT = """
id sku title price availableForSale inventoryQuantity
image { url }
inventoryItem { unitCost { amount } }
"""
_REFUND = """
id createdAt
totalRefundedSet { shopMoney { amount } }
"""
_REFUND_LINE = """
quantity
subtotalSet { shopMoney { amount } }
lineItem { id }
"""
# Children of a record: its type and the fields of a child, by the name of the connection.
CHILDREN = {
    "lineItems": ("Order", _LINE),
    "variants": ("Product", _VARIANT),
    "refundLineItems": ("Refund", _REFUND_LINE),
}
_RECORDS = {"orders": _ORDER, "customers": _CUSTOMER, "products": _PRODUCT}
_CHILD = {"orders": "lineItems", "products": "variants"}
LARGEST_PAGE = 100  # records; made smaller until the cost is allowed
_CHILDREN_PER_PAGE = 20
_REFUNDS_PER_ORDER, _LINES_PER_REFUND = 20, 10


def _nodes(name: str, arguments: str, fields: str) -> str:
    return f"{name}({arguments}) {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }}"


def changed(stream: str) -> str:
    """Return the query of one page of records in the order of their last change."""
    child = _CHILD.get(stream)
    nested = _nodes(child, f"first: {_CHILDREN_PER_PAGE}", CHILDREN[child][1]) if child else ""
    arguments = "first: $first, after: $after, query: $query, sortKey: UPDATED_AT"
    records = _nodes(stream, arguments, _RECORDS[stream] + nested)
    return f"query Changed($first: Int!, $after: String, $query: String) {{ {records} }}"


def bulk(stream: str, condition: str = "") -> str:
    """Return the query of a bulk operation that reads all records."""
    child = _CHILD.get(stream)
    nested = f"{child} {{ edges {{ node {{ {CHILDREN[child][1]} }} }} }}" if child else ""
    where = f'(query: "{condition}")' if condition else ""
    fields = _RECORDS[stream].replace("refunds(first: 1)", "refunds")
    return f"{{ {stream}{where} {{ edges {{ node {{ {fields} {nested} }} }} }} }}"


def children(connection: str) -> str:
    """Return the query of further children of one record."""
    kind, fields = CHILDREN[connection]
    nodes = _nodes(connection, "first: 100, after: $after", fields)
    return (
        "query Children($id: ID!, $after: String) "
        f"{{ node(id: $id) {{ ... on {kind} {{ {nodes} }} }} }}"
    )


_LINES = _nodes("refundLineItems", f"first: {_LINES_PER_REFUND}", _REFUND_LINE)
REFUNDS = (
    "query Refunds($id: ID!) { node(id: $id) { ... on Order { "
    f"id refunds(first: {_REFUNDS_PER_ORDER}) {{ {_REFUND} {_LINES} }} }} }} }}"
)

_OPERATION = "id status errorCode url createdAt query"
RUN_BULK = f"""
mutation RunBulk($query: String!) {{
  bulkOperationRunQuery(query: $query, groupObjects: true) {{
    bulkOperation {{ {_OPERATION} }}
    userErrors {{ field message code }}
  }}
}}
"""
BULK_OPERATION = f"""
query Operation($id: ID!) {{ node(id: $id) {{ ... on BulkOperation {{ {_OPERATION} }} }} }}
"""
RECENT_BULK = f"""
query RecentOperations {{
  bulkOperations(first: 20, sortKey: CREATED_AT, reverse: true) {{ nodes {{ {_OPERATION} }} }}
}}
"""

WEBHOOKS = """
query Webhooks($after: String) {
  webhookSubscriptions(first: 100, after: $after) {
    nodes { id topic uri } pageInfo { hasNextPage endCursor }
  }
}
"""
ADD_WEBHOOK = """
mutation AddWebhook($topic: WebhookSubscriptionTopic!, $webhook: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $webhook) {
    webhookSubscription { id topic uri }
    userErrors { field message }
  }
}
"""
