"""Rules that map a sentence to one of the desk's intents.

Each intent is the path of a command. Rules are tried in order. They see the sentence in lower
case, with a mark in place of each value (`bot.ask.values.MARKS`).
"""

import re
from dataclasses import dataclass
from functools import cache

from bot.ask.dates import WEEKDAYS
from bot.ask.values import MARKS, Values

M = MARKS
_REF = M["campaign"]
_THIS = r"(?:\b(?:it|this|that|this one|the campaign|this campaign|that campaign)\b|它|这个|该活动)"

RISK = (
    r"at[- ]risk|\brisk(?:y|iest|s)\b|\bin (?:the )?risk\b|\bat[- ](?:\ue00b)+|\brisk\b|\bchurn\w*|"
    r"\bendangered\b|\bin danger\b|"
    r"\b(?:gone|going|went|become|fallen) (?:quiet|silent|cold|away)\b|"
    r"\blaps(?:e|es|ed|ing|ers?)\b|"
    r"\b(?:about|going|gonna|likely|ready|might|may|could|will|would|want) (?:to )?(?:leave|churn|"
    r"stop buying|quit|bail|go|lapse|drop off)\b(?: on us| us)?|\bleav(?:e|es|ing)\b(?: us)?|"
    r"\b(?:are|be|we're|keep)? ?(?:going to lose|gonna lose|losing|could lose|might lose|"
    r"may lose)\b|\bslip(?:s|ping)? away\b|\bdrift(?:ing)? away\b|\bbail(?:ing)?\b|"
    r"\bgone for good\b|\bstop(?:ped|s)? (?:buying|ordering|coming|shopping|purchasing)\b|"
    r"\b(?:we|us|did) (?:lose|lost)\b|\bkeep an eye on\b|\bto call(?: first| today|\W*$)|"
    r"\bcall first\b|\bworr(?:y|ied) about\b|"
    r"流失|跑路|有风险|风险|要走|快走|离开|走掉|不再(?:买|来|下单)|不[买来]了"
)
CUSTOMERS = (
    r"\b(?:customers?|clients?|people|ppl|households?|shoppers|buyers|everyone|everybody|"
    r"anyone|those|folks|"
    r"accounts?)\b|客户|顾客|用户|家庭"
)
DRAFT = (
    r"\b(?:draft|drafting|drafts? up)\b|\bwin(?:ning)?[- ]?backs?\b|\bwinback\b|\bwin back\b|"
    r"\breactivat\w+|"
    r"\bre-?engag\w+|\b(?:set up|create|make|prepare|build|start|launch|plan|design)\b"
    r"[^.?!]{0,40}?\b(?:campaign|coupons?|offer|discount|promo\w*|voucher)\b|"
    r"\b(?:want|need|do|run|like)\b[^.?!]{0,15}?\b(?:a|an|another|new|some)\b"
    r"[^.?!]{0,25}?\b(?:campaign|coupons?|offer|discount|promo\w*|voucher)\b|"
    r"(?:\b(?:send|offer|give)|(?:^|\b(?:please|you|to|and|then|we) )(?:e-?mail|mail|text))\b"
    r"(?! (?:me|us)\b)[^.?!]{0,40}?\b(?:coupons?|discount|promo\w*|voucher|"
    r"free (?:shipping|delivery))\b(?! (?:rules?|reports?|lists?|policy|terms))|"
    r"起草|召回|挽回|(?:搞|做|发|建|设计|创建|新建|准备|策划).{0,10}(?:活动|优惠|券)"
)
# The words of a draft without what stands between them.
DRAFT_WORDS = (
    r"\b(?:draft(?:ing|s)?|win(?:ning)?|backs?|winback|reactivat\w+|re-?engag\w+|set up|create|"
    r"make|prepare|build|start|launch|plan|want|need|send|offer|e-?mail|mail|text|give|design|"
    r"campaigns?|coupons?|discounts?|promo\w*|vouchers?|hold-?out|spend|cost)\b|"
    r"起草|召回|挽回|搞|做|发|建|设计|创建|新建|准备|策划|活动|优惠|券"
)
# Kinds of campaigns other than win-back, by the words of a sentence; a plain "thank you" is none.
KINDS = {
    "product_news": (
        r"\bproduct news\b|\bnews (?:about|on|of) (?:our |the )?(?:new )?products?\b|"
        r"\bnew arrivals\b|"
        r"(?:新品|上新)(?:通知|资讯|消息|邮件|推荐|提醒)"
    ),
    "cross_sell": r"\bcross[- ]?sell(?:ing)?\b|(?:交叉|关联)销售",
    "second_order": r"\bsecond[- ](?:order|purchase)\b|(?:二次|第二次)(?:购买|下单)|第二单",
    "thank_you": (
        r"\b(?:say(?:ing)? )?thank[- ]?you (?:to|for|campaign|e-?mail|mail|note|message|letter)\b|"
        r"\b(?:a|the|send|draft) thank[- ]?you\b|\bsay thanks to\b|"
        r"感谢(?:信|函|活动|邮件|短信)|答谢"
    ),
    "no_offer": (
        r"\bwithout (?:an |any )?(?:offer|discount|coupon)\b|\bno[- ](?:offer|discount)\b|"
        r"(?:不带|没有|不给|不含|无)(?:任何)?(?:优惠|折扣)"
    ),
}
_ANY_KIND = "|".join(KINDS.values())
_MAKE = (
    r"\b(?:draft|send|mail|e-?mail|text|write|say|set up|create|make|prepare|build|start|launch|"
    r"plan|design|need|want|run)\b|起草|发|做|搞|准备|策划|设计|创建|写"
)
TO_WHOM = r"\b(?:to|for) (?:everyone|everybody|all|the)?\b|\be-?mail\b|邮件"
VARIANTS = (
    r"\b(?:test|compare|try)(?:ing)? (?:\w+ ){0,3}?"
    r"(?:subjects?(?: lines?)?|variants?|texts?|versions?)\b|"
    r"(?:测试|比较|对比).{0,4}(?:标题|主题|文案|版本|变体)"
)
APPROVE = r"\bapprov(?:e|ing|es|al of)\b|\bsign off\b|批准|审批|批一下|批了|通过"
REJECT = r"\breject(?:ing|s)?\b|\bturn down\b|\bdecline\b|拒绝|驳回|否决"
STOP_TRAINING = (
    r"\b(?:stop(?:ping)?|halt|pause|abort|kill|end(?! of)|cancel|call off)\b.{0,30}"
    r"\b(?:re-?)?train|"
    r"停.{0,4}(?:训练|重训)"
)
STOP = r"\b(?:stop(?:ping)?|halt|pause|abort|kill|end|cancel|call off)\b|停"
# In a campaign's thread, other words around "stop" may mean something else.
PLAIN_STOP = (
    r"(?:(?:ok(?:ay)?|so|and|now|please|pls|just|then|let'?s|we (?:need|have|want) to|i want to|"
    r"we should|you can|(?:can|could|would) (?:you|we))\b[, ]*)*(?:stop|halt|pause|abort|kill|end|"
    r"cancel|call off)(?: (?:it|this|that|one|the|campaign|sending|mailing|everything|now|right|"
    r"please|pls|away|immediately|today|at|once|for|good|here|all))*\W*|"
    r"(?:请|麻烦|先|那|就|快|立刻|马上|现在|这个|该|活动|把|它)*(?:停|暂停|叫停|终止|取消)(?:掉|止|"
    r"了|下|用|一下|吧|它|这个|该|活动|发送)*\W*"
)
SUBMIT = r"\b(?:submit(?:ting)?|hand in|(?:send|put)\b.*\bfor approval)\b|提交"
EDIT = (
    r"\b(?:make|set|change|raise|lower|reduce|increase|put|adjust|cut|update|edit)\b|"
    r"\bshould (?:be|expire|have)\b|"
    r"\bexpires?\b|改|设为|设成|调"
)
PAST = {
    "campaign approve": r"\bapproved\b|批的|批准了|批了|已批",
    "campaign reject": r"\brejected\b|被拒|拒绝了|驳回了",
    "campaign stop": r"\bstopped\b|停了(?!吧)|已停",
    "campaign submit": r"\bsubmitted\b|提交了|已提交",
    "campaign draft": r"\bdrafted\b|起草了",
    "retrain": r"\bre-?trained\b|\blast re-?train\b|训练过|训练了",
    "forget": r"\b(?:erased|deleted|forgotten)\b|删了|删除了",
}
_STATES = (
    ("live", r"\b(?:live|running|active|ongoing|current)\b|正在进行|进行中|在跑"),
    (
        "submitted",
        r"\b(?:waits?|waiting|pending|awaiting|submitted)\b|\bfor (?:my |our )?approval\b|"
        r"\bto approve\b|"
        r"待审批|等待审批|待批|要我?批|等.{0,4}批",
    ),
    ("draft", r"\bdrafts?\b|草稿"),
    ("measuring", r"\bmeasur(?:ing|ed)\b|测量"),
    ("scheduled", r"\bscheduled\b|已排期"),
    ("rejected", r"\brejected\b|被拒"),
    ("expired", r"\bexpired\b|过期"),
    ("closed", r"\b(?:closed|finished|ended|over|completed)\b|结束|完成"),
    ("cancelled", r"\b(?:cancel?led|stopped)\b|取消|停掉的"),
    ("approved", r"\bapproved\b|已批准"),
)
# Of a list's customers, in its thread only: elsewhere it would mean all customers.
SPEND_MOST = (
    r"\b(?:spend(?:s|ing)?|spent|worth|buy(?:s|ing)?|bought) (?:the )?most\b(?! often| frequent)|"
    r"\b(?:biggest|top|best) spenders?\b|"
    r"\bmost valuable\b|\bhighest (?:expected )?(?:spend|value)\b|"
    r"(?:花钱?|花费|消费|买得?)(?:得)?最(?:多|高)|最有价值|价值最高"
)
# A draft takes those at risk, and waits for an approval. "Draft it now" means the draft itself.
DRAFTING = r"\b(?:draft\w*|set up|create|prepare|plan)\b|起草|创建|准备"
EVERYONE = (
    r"\b(?:every(?:one|body)|all (?:of )?(?:our |my |the )?(?:customers|clients|people|shoppers|"
    r"buyers)|the whole (?:list|base)|(?:each|every) (?:customer|client|shopper))\b(?! (?:who |"
    r"that |is |are )*(?:at|in|on|above|with|from|likely|about|going)\b|'s? )|"
    r"所有(?:的)?(?:人|客户|顾客|用户)|全部(?:客户|顾客|人)|每个?(?:人|位?客户)|大家|全体"
)
AT_ONCE = (
    r"\b(?:right |just )?now\b|\b(?:today|tonight|tomorrow|immediately|asap)\b|"
    r"\b(?:at once|(?:right|straight) away|this (?:weekend|afternoon|evening|morning))\b|"
    rf"\b(?:before|by|until|on|next) (?:{'|'.join(WEEKDAYS)}|tomorrow|tonight|noon|the weekend)\b|"
    r"马上|立即|立刻|现在|今天|今晚|明天|尽快"
)
MOST_ORDERS = (
    r"\b(?:orders?|buys?|shops?|ordered|bought) (?:the )?most (?:often|frequently)\b|"
    r"\bmost orders\b|\bmost (?:often|frequent(?:ly)?|loyal|faithful|regular)\b|"
    r"(?:下单|买得?|购买)(?:次数)?最(?:多|频繁|勤)|最(?:忠诚|忠实)"
)
NEWEST = (
    r"\b(?:newest|latest|most recent) (?:\w+ )?(?:customers?|clients|buyers|people)\b|"
    r"\b(?:who|which|list|show|name|see)(?: (?:are|is|me|us|all|of|our|my|the))* "
    r"new (?:customers|clients|buyers)\b|"
    r"最新的?(?:客户|顾客)|新(?:客户|顾客)(?:有哪些|有谁|是谁)"
)
BEST = (
    rf"{SPEND_MOST}|\b(?:best|biggest|(?:our|my) top|largest|most valuable|"
    rf"highest[- ](?:spending|value)) "
    r"(?:\w+ )?(?:customers?|clients|buyers|spenders|shoppers|households|people)\b|"
    r"(?:最好|最大|最优质|最重要|消费最[高多]|花钱最多)的?(?:客户|顾客|用户)?"
)
HOW_MANY = (
    r"\b(?:how many|number of|count(?: of)?|total) (?:\w+ )?(?:customers?|clients|people|buyers|"
    r"shoppers|"
    r"households|members)\b|多少(?:位|个|名)?(?:客户|顾客|用户|会员|人)|(?:客户|顾客|用户)(?:总数|数量|有多少)"
)
SOLD = (
    r"\b(?:sales|turnover|takings)\b|\brevenues?\b|"
    r"\b(?:how much|what) (?:did|have|do|does) (?:we|the shop) (?:sell|sold|take|make|earn|"
    r"turn over)\b|\bhow many (?:orders|new customers)\b|\bnumber of orders\b|"
    r"销售|营业额|营收|卖了|卖出|多少订单|多少(?:位|个)?新客|新客户|订单(?:数|量)|成交"
)
ROLL_BACK = (
    r"\broll(?:ed|ing)?\b.{0,30}?\bback\b|\b(?:rollback|go back|going back|switch back|"
    r"change back|revert|undo|restore|"
    r"bring back|put back)\b|\b(?:old|previous|last|earlier|former)\b.*\bback\b|"
    r"\b(?:use|take|want|need)\b.{0,20}\b(?:old|previous|earlier|former)\b.{0,12}\bmodel|用回|"
    r"换回|退回|回退|回到|回滚|恢复|还原|撤回"
)
STATE_WORDS = "|".join(pattern for _, pattern in _STATES)
_RESULT = (
    r"\b(?:results?|outcome|perform\w*|money|uplift|lift|profit|roi|earn(?:ed|s)?|paid off|pay off|"
    r"needle|success\w*|went|going|doing|happened|effect|incremental|hold-?out)\b|"
    r"\bhow (?:did|does|do|is|was|has|much)\b|\bdid .* (?:do|work)\b|\b(?:won|wins?|winner)\b|赢|"
    r"效果|结果|收益|表现|赚|怎么样|咋样|如何"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """An intent and the patterns that all have to match.

    ``needs`` is the kind of value that the sentence or the thread must have.
    """

    intent: str
    all_of: tuple[str, ...]
    none_of: tuple[str, ...]
    needs: str


def _rule(intent: str, *all_of: str, none_of: tuple[str, ...] = (), needs: str = "") -> Rule:
    return Rule(intent, all_of, none_of, needs)


@dataclass(frozen=True, slots=True)
class Match:
    """The matching rule's intent, and the spans that its patterns explain."""

    intent: str
    spans: tuple[tuple[int, int], ...]


_MODELS = r"\b(?:models?|scoring|predictions?|scores)\b|模型|预测"
DIGEST = r"\b(?:digests?|weekly (?:recap|summary|report|numbers|update)|recap)\b|周报"
UNSUPPORTED = (
    r"\b(?:exclude|block|export|download|unsubscribe|upload|publish|contact|ignore)\b|导出|"
    r"下载|排除|拉黑"
)  # deeds that no command does
RULES = (
    _rule("help", r"^help\W*$|\bneed help\b|^帮助$|^怎么用"),
    _rule(
        "help",
        r"\bwhat (?:can|could|do|should) (?:you|i|the bot|it|this bot|one) (?:do|ask|say|"
        r"type)\b(?! about| with| for)|\bwhat you can do\b|"
        r"\bwhat (?:the|this) bot can do\b|\bwhere to start\b|你能做什么|你会什么|"
        r"能做什么|怎么用你|会做什么",
    ),
    _rule("campaign variants", VARIANTS, needs="campaign"),
    _rule("campaign draft", _ANY_KIND, _MAKE, needs="no campaign"),
    _rule("audience show", r"\bhow many\b|\bhow big\b|\bwho is in\b|\bshow\b|多少", M["audience"]),
    _rule(
        "campaign my-calls",
        r"\bmy (?:open |due )?(?:calls?|phone)\b(?! off)|\bmy (?:call|calling|phone) lists?\b|"
        r"\bcalls (?:to make|for me|(?:do )?i (?:have|need|still))\b|\bcall lists?\b|"
        r"\b(?:who|whom) (?:do|should|must) i (?:have to |need to )?(?:call|phone|ring)\b|"
        r"我的(?:通话|电话|回访|呼叫)|(?:通话|电话|回访|呼叫)(?:名单|列表|清单)",
        none_of=(RISK, DRAFT, r"\b(?:add|put|remove)\b|加到|加入|移出"),
        needs="no customer",
    ),
    _rule("audience list", r"\baudiences\b|人群列表|有哪些人群"),
    _rule("models card", r"\bmodel card\b|模型卡"),
    _rule(
        "alert list",
        r"\balerts\b|告警|警报",
        none_of=(r"\b(?:set up|create|add|mute|snooze|delete|new|stop|off|unmute)\b",),
    ),
    _rule(
        "schedule list",
        r"\bschedules\b|\b(?:what|which).*\bscheduled\b|定时任务|有哪些计划",
        none_of=(r"\b(?:create|add|delete|pause|resume|new|digests?|campaigns?)\b",),
    ),
    _rule(
        "report promises",
        r"\bpromis(?:e|es|ed)\b|\bforecasts?\b.*\b(?:hold|held|right|accurate|good|true)\b",
        needs="no campaign",
    ),
    _rule(
        "report programme",
        r"\bprogram(?:me)? hold-?out\b|\ball campaigns together\b|"
        r"\bprogram(?:me)?\b.*\b(?:earn\w*|profit|worth|result)\b",
        needs="no campaign",
    ),
    _rule(
        "definition show",
        r"\b(?:churn|high risk|at risk)\b.*\b(?:definition|mean|means|defined|meaning)\b|"
        r"\b(?:definition|define|meaning)\b.*\b(?:churn|risk)\b|\bwhat (?:does|"
        r"is) (?:churn|a churner)\b|"
        r"流失.{0,6}(?:定义|什么意思|意思)|怎么定义",
    ),
    _rule(
        "models rollback",
        ROLL_BACK,
        r"\bmodels?\b|\bpromotions?\b|模型",
        none_of=(r"\bcampaigns?\b|活动",),
    ),
    _rule(
        "models rollback",
        ROLL_BACK,
        r"\b(?:previous|old|last|former|earlier|before|prior)\b|上一|之前|以前|旧|原来",
        needs="models",
    ),
    _rule(
        "retrain",
        r"\bre-?train\w*|\btrain(?:ing)?\b.*\bmodels?\b|\bmodels?\b.*\btrain(?:ed|ing)?\b|"
        r"重新?训练|重训|再训练|训练.{0,4}模型",
        none_of=(STOP_TRAINING,),
    ),
    _rule("role grant", r"\b(?:viewer|analyst|approver|admin)\b|分析师|审批人|管理员", M["person"]),
    _rule(
        "role list",
        r"^roles?\W*$|\bwho (?:may|can|is allowed to|has the right)\b|\bwho (?:has|is|"
        r"are) .*\b(?:rights?|admins?|approvers?|analysts?)\b|\bwhich roles?\b|"
        r"\bwho has which\b|"
        r"\blist (?:the )?roles\b|谁(?:可以|能|有权)|权限|角色",
    ),
    _rule(
        "forget",
        r"\b(?:erase|forget|delete|gdpr|erased|deleted|forgotten)\b|删除|抹除|删掉",
        needs="customer",
    ),
    _rule("digest list", r"\bdigests?\b|周报", r"\bwhen\b|\bscheduled?s?\b|哪些|什么时候"),
    _rule(
        "digest off", r"\bdigests?\b|周报", r"\b(?:stop|cancel|off|no more|disable|end)\b|取消|停"
    ),
    _rule("digest schedule", DIGEST, M["weekday"]),
    _rule("jobs cancel", r"\b(?:cancel|stop|kill)\b|取消", M["job"]),
    _rule("jobs retry", r"\b(?:retry|again|rerun)\b|重试", M["job"]),
    _rule(
        "campaign preview",
        r"\b(?:preview|e-?mails?|mails?|cop(?:y|ies)|texts?)\b|邮件|预览|文案",
        none_of=(r"\b(?:stop|halt|abort|cancel)\b|停",),
        needs="campaign",
    ),
    _rule("campaign reject", f"{REJECT}|{PAST['campaign reject']}", needs="campaign"),
    _rule(
        "campaign edit",
        EDIT,
        f"[{M['percent']}{M['holdout']}{M['money']}{M['days']}]",
        needs="campaign",
    ),
    _rule("campaign edit", rf"^(?:please |pls |and |ok,? |let's )*{M['name']}", needs="campaign"),
    _rule("campaign submit", f"{SUBMIT}|{PAST['campaign submit']}", needs="campaign"),
    _rule("campaign stop", f"{STOP}|{PAST['campaign stop']}", needs="campaign"),
    _rule("campaign approve", f"{APPROVE}|{PAST['campaign approve']}", needs="campaign"),
    _rule("campaign result", _RESULT, needs="campaign"),
    _rule("campaign show", f"{_REF}|{_THIS}|drafted", needs="campaign"),
    _rule(
        "report recommend",
        r"\b(?:recommendations?|recommenders?|recs)\b|推荐",
        r"\b(?:do|doing|perform\w*|ctr|click\w*|report|quality|work\w*|rates?)\b|效果|"
        r"表现|怎么样",
        needs="no customer",
    ),
    _rule(
        "recommend",
        r"\b(?:recommend\w*|recs|next best|nbo|upsell|cross-?sell|products?|items|gift)\b|"
        r"\b(?:like|buy|purchase|want|wants|offer|need|enjoy|sell|suggest\w*)\b|"
        r"推荐|推点|喜欢|想买|想要|买什么|送什么",
        none_of=(
            r"\b(?:want|like|need) to (?:know|see|understand)\b",
            r"\bat risk\b|\bleave\b",
            r"\bdid\b.*\bbuy\b",
        ),
        needs="customer",
    ),
    _rule(
        "cohort",
        r"\bcohorts?\b|\bretention\b|\bhow long do\b.*\bstay\b|\bretain(?:ed|ing)?\b|"
        r"\bshare of new customers\b|"
        r"\bstill (?:buys?|bought)\b|留存|同期群",
    ),
    _rule(
        "models check",
        _MODELS,
        r"\b(?:still|good|ok|okay|check\w*|drift\w*|decay\w*|stale|trust|accurate|"
        r"accuracy|reliable|right|wrong)\b|"
        r"准|可靠|过时|检查",
        needs="no customer",
    ),
    _rule(
        "models list",
        r"\b(?:which|what|list|show|all|use|have|champion|current)\b.*\bmodels?\b|"
        r"\bmodels?\b.*\b(?:use|champion|have|used|list)\b|^models\W*$|哪.{0,2}模型|"
        r"模型列表",
    ),
    _rule(
        "data show",
        r"\bdata\b|数据",
        r"\b(?:fresh\w*|complete\w*|quality|ok|okay|good|missing|current|up[- ]to[- ]date|"
        r"stale|trust|imported|"
        r"latest|old|clean|there|gaps?|updated?|arriv\w+)\b|最新|完整|质量|齐|缺|新吗|更新",
    ),
    _rule(
        "status",
        r"^status\W*$|\bstatus\b|\b(?:are you|is the bot|is it|u) (?:up|there|ok|alive|online)\b|"
        r"\beverything (?:is )?(?:running|ok|up|fine|working)\b|\bis everything\b|"
        r"^状态$|状态|正常吗",
    ),
    _rule(
        "jobs list",
        r"\bjobs?\b|\b(?:what|anything) (?:is |else is )?(?:currently )?(?:running|queued|"
        r"in progress)\b|"
        r"\bwhat's running\b|\bin the queue\b|任务|在运行",
        none_of=(r"\bcampaigns?\b|活动", r"(?:cancel|stop|kill)\b"),
    ),
    _rule(
        "campaign draft",
        DRAFT,
        none_of=(
            r"^drafts\W*$",
            r"\b(?:list|show|which|any|what|all|see|open)\b[^.?!]*\bdrafts\b",
            r"\b(?:set|make|change|raise|lower)\b.*\bdigest\b",
        ),
    ),
    _rule("campaign draft", M["percent"], f"{RISK}|{CUSTOMERS}|\\b(?:give|offer|send|off)\\b|给"),
    _rule("campaign draft", f"^(?:\\W|{M['percent']})*$", M["percent"]),
    _rule(
        "campaign list",
        r"\bcampa\w+s?\b|\bpipeline\b|\bfunnel\b|^drafts\W*$|\bdrafts\b|活动|草稿|待审批|待批|"
        r"\bto approve\b|\b(?:for|my) approval\b|\bto sign off\b|要我?批",
    ),
    _rule(
        "score",
        f"(?=.*{M['customer']})(?:{RISK}|why|score|risk|reason|explain|show|order|为什么|"
        f"评分|分析)",
        needs="customer",
    ),
    _rule(
        "digest now",
        DIGEST + r"|\bwhat(?:'s| has| is)? (?:happened|happening|changed|new)\b|"
        r"\b(?:this|last|the past) week'?s?\b|"
        r"\bweekly\b|\bhow (?:was|is) (?:the|this) week\b|本周|这周|一周",
        none_of=(RISK,),
    ),
    _rule(
        "sweep",
        rf"\bsweep\b|\b(?:whom?|which|what|how many|list|show|customers|"
        rf"those)\b.*\b(?:{M['tier']}|worry)|"
        rf"{M['tier']}|{RISK}",
        needs="no customer",
    ),
    _rule("score", M["customer"], needs="customer"),
    _rule("sweep", M["audience"]),
    _rule("sweep", M["top"], needs="no customer"),
)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def match_rules(values: Values, has: frozenset[str]) -> Match | None:
    """Return the first matching rule."""
    low = values.masked
    for rule in RULES:
        if rule.needs and rule.needs not in has:
            continue
        if any(_compiled(pattern).search(low) for pattern in rule.none_of):
            continue
        spans: list[tuple[int, int]] = []
        for pattern in rule.all_of:
            matches = [found.span() for found in _compiled(pattern).finditer(low)]
            if not matches:
                break
            spans += matches
        else:
            return Match(rule.intent, tuple(spans))
    return None


def find_kind(low: str) -> str | None:
    """Return the kind of campaign that a sentence names; None for win-back."""
    return next((kind for kind, words in KINDS.items() if _compiled(words).search(low)), None)


def find_state(low: str) -> str | None:
    """Return the state of the campaigns to list, if the sentence names one."""
    return next((state for state, pattern in _STATES if _compiled(pattern).search(low)), None)


# ---------------------------------------------------------------- mood

# How a sentence relates to the deed that it names. What only talks about a change must not become
# that change.
_MOODS = {
    "negated": (
        r"\b(?:don'?t|do not|does not|doesn'?t|did not|didn'?t|won'?t|will not|not|never|no need|"
        r"nobody|no one|none|"
        r"shouldn'?t|should not|wouldn'?t|would not|mustn'?t|rather not|instead of|too early)\b|"
        r"(?<!要)不要|先别|别(?!的)|不用|不想|不必|没有?必要|还不|(?<!能)不能|(?<!该)不该|不可以"
    ),
    "reported": (
        r"\b(?:said|says|told|wrote|mentioned|suggested|thought|thinks|believes|heard|asked|"
        r"by mistake|already|"
        r"we could|we might|i might|i would (?!like|love)|i'd rather|(?:i|we) think|maybe|perhaps|"
        r"wish)\b|说过?|听说|已经|以为|也许"
    ),
    "conditional": (
        r"\bif (?!you (?:can|could|have|don'?t mind)|possible|necessary)|\bunless\b|"
        r"如果|要是|万一"
    ),
    "how": (
        r"\bhow (?:do|does|can|could|should|would) (?:i|we|you|one|someone|people)\b|"
        r"\bhow (?:i|we) (?:can )?\b|\bhow to\b|\bwhat (?:does|do|happens|would happen)\b|"
        r"\bhow does \w+ work\b|\bexplain how\b|\bis it safe\b|"
        r"怎么(?!样|了|回事|定义)|如何(?!$|[？?])"
    ),
    "what_if": r"\bwhat (?:happens|would happen)\b|\bis it safe\b|会怎样|会怎么样",
    "may_they": r"^(?:can|may|could) (?!you|u\b|i\b|we\b)[a-z]+s?\b",
    "should": (
        r"^(?:so |and |ok,? )?(?:should|shall|must|do) (?:i|we|they|you)\b|\bwould it be\b|"
        r"\bis it (?:wise|a good idea|right)\b|"
        r"要不要|该不该|应不应该|是否|需不需要|需要.*吗|应该.*吗|能不能停"
    ),
    "asks": (
        r"^(?:so |and |ok,? )?(?:who|whom|why|when|did|does|has|have|had|was|were|is|are)\b|^谁|"
        r"为什么|为啥|什么时候|谁(?:批|停|提交|起草)"
    ),
    "may_i": r"^(?:can|may|could) (?:i|we) (?!see|have|get)",
}


def moods_of(low: str) -> frozenset[str]:
    """Tell a request from a question, a report, a refusal or a thought."""
    return frozenset(mood for mood, pattern in _MOODS.items() if _compiled(pattern).search(low))
